package dev.prebake.vm

import java.io.File

/** How far a task has come: bytes, unless the task counts something else. */
data class Progress(val task: String, val text: String, val done: Long, val total: Long?, val ended: Boolean) {
    /** From 0 to 1, if the total is known. */
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

/** What an image consists of, in the store. */
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

/** An image in the store. [pulled] is in seconds since 1970. */
data class Image(val reference: String, val digest: String, val target: String, val machineBytes: Long, val snapshotBytes: Long?, val pulled: Long) {
    internal companion object {
        fun of(json: Map<*, *>) = Image(
            json.text("reference").orEmpty(),
            json.text("digest").orEmpty(),
            json.text("target").orEmpty(),
            json.long("machine_bytes") ?: 0,
            json.long("snapshot_bytes"),
            json.long("pulled") ?: 0,
        )
    }
}

/**
 * A session of [subject]: a reference, or a file. [began] and [saved] are in seconds since 1970; [saved] is `null` if it never was, as while its first run
 * lasts. If it is [running], a process has it.
 */
data class SavedSession(
    val name: String,
    val subject: String,
    val image: String?,
    val began: Long,
    val saved: Long?,
    val bytes: Long,
    val running: Boolean,
) {
    internal companion object {
        fun of(json: Map<*, *>) = SavedSession(
            json.text("name").orEmpty(),
            json.text("of").orEmpty(),
            json.text("image"),
            json.long("began") ?: 0,
            json.long("kept"),
            json.long("bytes") ?: 0,
            json["running"] == true,
        )
    }
}

/** What was removed; [inUse] are files that were not, as someone uses them. */
data class Pruned(val files: Long, val bytes: Long, val inUse: Long)
