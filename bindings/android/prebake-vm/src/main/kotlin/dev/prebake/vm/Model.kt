package dev.prebake.vm

import java.io.File
import java.time.Instant
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds

/**
 * Progress of one task.
 *
 * @property task the task's name, for example `pull`, `fetch-image` or `boot`.
 * @property text what is being done, in words for the user.
 * @property done how much is done, usually in bytes.
 * @property total how much there is in all, or `null` if nobody knows yet.
 * @property ended whether the task is finished.
 */
data class Progress(val task: String, val text: String, val done: Long, val total: Long?, val ended: Boolean) {
    /** The part that is done, from 0 to 1, or `null` if the total is unknown. */
    val fraction: Float? get() = total?.takeIf { it > 0 }?.let { (done.toDouble() / it).coerceIn(0.0, 1.0).toFloat() }

    internal companion object {
        fun of(json: Map<*, *>) = Progress(
            json.text("task").orEmpty(),
            json.text("text").orEmpty(),
            json.long("done") ?: 0,
            json.long("total"),
            json["ended"] == true,
        )
    }
}

/**
 * The files of an image.
 *
 * @property machine the machine's file.
 * @property snapshot the state of the machine once it has booted, or `null` if the image has none.
 * @property reference the image's reference in full.
 * @property digest the digest of this version of the image.
 */
data class Artifacts(val machine: File, val snapshot: File?, val reference: String, val digest: String) {
    internal companion object {
        fun of(json: Map<*, *>) = Artifacts(
            File(json.text("machine").orEmpty()),
            json.text("snapshot")?.let(::File),
            json.text("reference").orEmpty(),
            json.text("digest").orEmpty(),
        )
    }
}

/**
 * An image in the store.
 *
 * @property target the processor that the machine was compiled for.
 * @property snapshotBytes the size of the snapshot, or `null` if the image has none.
 * @property pulled when the image was pulled.
 */
data class Image(
    val reference: String,
    val digest: String,
    val target: String,
    val machineBytes: Long,
    val snapshotBytes: Long?,
    val pulled: Instant,
) {
    internal companion object {
        fun of(json: Map<*, *>) = Image(
            json.text("reference").orEmpty(),
            json.text("digest").orEmpty(),
            json.text("target").orEmpty(),
            json.long("machine_bytes") ?: 0,
            json.long("snapshot_bytes"),
            Instant.ofEpochSecond(json.long("pulled") ?: 0),
        )
    }
}

/**
 * A session in the store.
 *
 * @property subject the reference or the file that the session was started from.
 * @property image the digest of the image, if the session is of one.
 * @property began when the session was started.
 * @property saved when it was last saved, or `null` if it never was.
 * @property bytes the size of what was saved.
 * @property running whether a machine is using the session now.
 */
data class SavedSession(
    val name: String,
    val subject: String,
    val image: String?,
    val began: Instant,
    val saved: Instant?,
    val bytes: Long,
    val running: Boolean,
) {
    internal companion object {
        fun of(json: Map<*, *>) = SavedSession(
            json.text("name").orEmpty(),
            json.text("of").orEmpty(),
            json.text("image"),
            Instant.ofEpochSecond(json.long("began") ?: 0),
            json.long("kept")?.let(Instant::ofEpochSecond),
            json.long("bytes") ?: 0,
            json["running"] == true,
        )
    }
}

/**
 * The result of [Prebake.prune].
 *
 * @property files how many files were removed.
 * @property bytes how many bytes they had.
 * @property inUse how many files were left because they are in use.
 */
data class Pruned(val files: Long, val bytes: Long, val inUse: Long)

/** A piece of a machine's output. */
class Output(val stream: Stream, val bytes: ByteArray) {
    /** A stream of the guest's program. With a terminal, everything arrives on [Stdout]; messages of the guest's kernel arrive on [Stderr]. */
    enum class Stream { Stdout, Stderr }

    /** The bytes as UTF-8. A character may be split between two pieces. */
    override fun toString(): String = String(bytes)
}

/**
 * A saved state of a session.
 *
 * @property session the session's name.
 * @property pages how many pages of memory and disk were saved.
 * @property bytes how many bytes they have on the disk.
 * @property duration how long saving took.
 */
data class Checkpoint(val session: String, val pages: Long, val bytes: Long, val duration: Duration) {
    internal companion object {
        fun of(json: Map<*, *>) = Checkpoint(
            json.text("session").orEmpty(),
            json.long("pages") ?: 0,
            json.long("bytes") ?: 0,
            (json.double("milliseconds") ?: 0.0).milliseconds,
        )
    }
}

/**
 * The end of a machine.
 *
 * @property cause why it ended.
 * @property saved what was saved at the end, or `null` if the machine is in no session.
 * @property restored how long it took to restore the machine, or `null` if it was not restored.
 * @property firstOutput the time from the start of the machine to its first output, or `null` if there was none.
 */
data class Ended(val cause: Cause, val saved: Checkpoint?, val restored: Duration?, val firstOutput: Duration?) {
    sealed interface Cause {
        /** The guest's program exited. */
        data class Exited(val status: Int) : Cause

        /** The machine was stopped. */
        data object Stopped : Cause

        /** A signal ended the machine. */
        data class Signalled(val signal: Int) : Cause
    }
}
