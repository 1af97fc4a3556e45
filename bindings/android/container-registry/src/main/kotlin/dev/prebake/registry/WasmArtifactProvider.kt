package dev.prebake.registry

import dev.prebake.vm.Prebake
import dev.prebake.vm.Progress
import java.io.File
import kotlinx.coroutines.channels.awaitClose
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.callbackFlow
import kotlinx.coroutines.launch

/**
 * The files of a machine. They belong together: a snapshot is of this machine and of no other.
 *
 * @property wasmFile the machine, `alpine.aot`.
 * @property snapshotFile how it stood once it had booted, `alpine.snap`; `null` if the image was not pre-baked. Such a machine boots once, when it is first
 * started, and is saved then.
 * @property digest names this version of the image for ever.
 * @property isUpdate the tag names another version than before: sessions of the one before are kept.
 */
data class VmArtifacts(
    val wasmFile: File,
    val snapshotFile: File?,
    val reference: String,
    val digest: String,
    val isUpdate: Boolean,
)

/** What [WasmArtifactProvider.ensureWithProgress] emits. */
sealed interface Download {
    data class Running(val progress: Progress) : Download

    data class Done(val artifacts: VmArtifacts) : Download
}

/** Machines out of an OCI registry. */
class WasmArtifactProvider(private val prebake: Prebake) {
    /**
     * Makes sure that what [imageRef] names now is here, every byte of it verified. Asks the registry, which is one small question if nothing has changed; if
     * the registry cannot be reached, what was pulled before is returned. Cancelling keeps what has come so far, and the next call goes on from there.
     *
     * @throws dev.prebake.vm.PrebakeException by its kind, for example [dev.prebake.vm.PrebakeException.Unreachable].
     */
    suspend fun ensure(imageRef: String, onProgress: ((Progress) -> Unit)? = null): VmArtifacts {
        val before = prebake.images().associate { it.reference to it.digest }
        val found = prebake.ensure(imageRef, onProgress = onProgress)
        val known = before[found.reference]
        return VmArtifacts(found.machine, found.snapshot, found.reference, found.digest, known != null && known != found.digest)
    }

    /** The same as a flow, which ends with [Download.Done]. */
    fun ensureWithProgress(imageRef: String): Flow<Download> = callbackFlow {
        launch {
            val artifacts = ensure(imageRef) { trySend(Download.Running(it)) }
            send(Download.Done(artifacts))
            close()
        }
        awaitClose()
    }

    /** What was pulled before, without asking the registry; `null` if it was not. */
    suspend fun cached(imageRef: String): VmArtifacts? = try {
        prebake.ensure(imageRef, offline = true).let { VmArtifacts(it.machine, it.snapshot, it.reference, it.digest, isUpdate = false) }
    } catch (_: dev.prebake.vm.PrebakeException.NotFound) {
        null
    }
}
