package dev.prebake.registry

import dev.prebake.vm.Prebake
import dev.prebake.vm.PrebakeException
import dev.prebake.vm.Progress
import java.io.File
import kotlinx.coroutines.channels.awaitClose
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.callbackFlow
import kotlinx.coroutines.launch

/**
 * The files of an image: a machine, and a snapshot of that machine.
 *
 * @property wasmFile the machine, for example `alpine.aot`.
 * @property snapshotFile the state of the machine once it has booted, for example `alpine.snap`, or `null` if the image was not pre-baked. Such a machine boots when
 * it is first started, and is saved then.
 * @property reference the image's reference in full.
 * @property digest the digest of this version of the image.
 * @property isUpdate `true` if the tag named another version before. Sessions of that version are kept.
 */
data class VmArtifacts(
    val wasmFile: File,
    val snapshotFile: File?,
    val reference: String,
    val digest: String,
    val isUpdate: Boolean,
)

/** An element of [WasmArtifactProvider.ensureWithProgress]. */
sealed interface Download {
    /** The image is being fetched. */
    data class Running(val progress: Progress) : Download

    /** The image is in the store. */
    data class Done(val artifacts: VmArtifacts) : Download
}

/** Fetches machines from OCI registries. */
class WasmArtifactProvider(private val prebake: Prebake) {
    /**
     * Fetches and verifies the image that [imageRef] names now, unless it is in the store already, and returns its files.
     *
     * If nothing has changed, this costs one small request. If the registry cannot be reached, the version that was pulled last is returned. If the coroutine is
     * cancelled, the download stops; the next call resumes it.
     *
     * @param onProgress receives progress on an internal thread and must return quickly.
     * @throws PrebakeException.NotFound if there is no such image.
     * @throws PrebakeException.Unreachable if the registry cannot be reached and the image was never pulled.
     * @throws PrebakeException.Unauthorized if the registry refuses access.
     */
    suspend fun ensure(imageRef: String, onProgress: ((Progress) -> Unit)? = null): VmArtifacts {
        val before = prebake.images().associate { it.reference to it.digest }
        val found = prebake.ensure(imageRef, onProgress = onProgress)
        val known = before[found.reference]
        return VmArtifacts(found.machine, found.snapshot, found.reference, found.digest, known != null && known != found.digest)
    }

    /** Does the same as [ensure] when it is collected: emits progress, and [Download.Done] at the end. */
    fun ensureWithProgress(imageRef: String): Flow<Download> = callbackFlow {
        launch {
            val artifacts = ensure(imageRef) { trySend(Download.Running(it)) }
            send(Download.Done(artifacts))
            close()
        }
        awaitClose()
    }

    /** Returns the version that was pulled last, without asking the registry, or `null` if the image was never pulled. */
    suspend fun cached(imageRef: String): VmArtifacts? = try {
        prebake.ensure(imageRef, offline = true).let { VmArtifacts(it.machine, it.snapshot, it.reference, it.digest, isUpdate = false) }
    } catch (_: PrebakeException.NotFound) {
        null
    }
}
