package dev.prebake.vm

import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.receiveAsFlow
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock

/** A machine that runs. */
class Vm internal constructor(private val prebake: Prebake, internal val number: Long) {
    private val chunks = Channel<Output>(CHUNKS)
    private val end = CompletableDeferred<Ended>()
    private val room = Channel<Unit>(Channel.CONFLATED)
    private val typing = Mutex()

    @Volatile private var ahead = 0L

    /**
     * What the guest writes, in order, until it ends. It is for one collector, which must collect: what is not taken makes the guest wait, and with it
     * the answers of this process.
     */
    val output: Flow<Output> = chunks.receiveAsFlow()

    /** Whether the machine has ended. */
    val hasEnded: Boolean get() = end.isCompleted

    /** Types [bytes], and returns when the guest is sure to have room for them. */
    suspend fun write(bytes: ByteArray) = typing.withLock {
        var offset = 0
        while (offset < bytes.size) {
            val length = minOf(bytes.size - offset, CHUNK)
            while (ahead + length > WINDOW && !hasEnded) room.receiveCatching()
            if (hasEnded) return@withLock
            synchronized(this) { ahead += length }
            prebake.sendBytes(number, bytes, offset, length)
            offset += length
        }
    }

    suspend fun write(text: String) = write(text.toByteArray())

    /** Ends the guest's input. A machine with a terminal takes it as its user going away: it is saved, and ends. */
    suspend fun closeInput() = typing.withLock { prebake.sendBytes(number, ByteArray(0), 0, 0) }

    suspend fun resize(columns: Int, rows: Int) {
        prebake.call("resize", mapOf("machine" to number, "columns" to columns, "rows" to rows))
    }

    /** Sends the signal with this number to the guest's program. */
    suspend fun signal(signal: Int) {
        prebake.call("signal", mapOf("machine" to number, "number" to signal))
    }

    /** Saves what the guest has done in its session, and lets it go on. Returns when that is on the disk. */
    suspend fun checkpoint(): Checkpoint = Checkpoint.of(prebake.call("checkpoint", mapOf("machine" to number)))

    /** Saves the machine if it is in a session, ends it, and returns how it ended. */
    suspend fun stop(): Ended {
        try {
            prebake.call("stop", mapOf("machine" to number))
        } catch (_: PrebakeException.MachineEnded) {
            // It has stopped by itself.
        }
        return await()
    }

    /**
     * Waits until the machine ends.
     *
     * @throws PrebakeException if it did not end by itself, nor because it was asked to.
     */
    suspend fun await(): Ended = end.await()

    internal suspend fun wrote(stream: Int, bytes: ByteArray) {
        try {
            chunks.send(Output(if (stream == 2) Output.Stream.Stderr else Output.Stream.Stdout, bytes))
        } catch (_: CancellationException) {
            // Nobody wants it any more.
        }
    }

    internal fun discardOutput() = chunks.cancel()

    internal fun consumed(bytes: Long) {
        synchronized(this) { ahead -= bytes }
        room.trySend(Unit)
    }

    internal fun ended(how: Result<Ended>) {
        how.fold({ end.complete(it) }, { end.completeExceptionally(it) })
        chunks.close()
        room.close()
    }

    private companion object {
        /** Bytes that may be sent ahead of what the guest has taken. */
        const val WINDOW = 256 shl 10
        const val CHUNK = 32 shl 10
        /** Chunks of output that may wait for the collector. */
        const val CHUNKS = 64
    }
}

/** What the guest wrote at once. */
class Output(val stream: Stream, val bytes: ByteArray) {
    enum class Stream { Stdout, Stderr }

    override fun toString(): String = String(bytes)
}

/** A session that was saved. */
data class Checkpoint(val session: String, val pages: Long, val bytes: Long, val milliseconds: Double) {
    internal companion object {
        fun of(json: Map<*, *>) = Checkpoint(
            json.text("session").orEmpty(),
            json.long("pages") ?: 0,
            json.long("bytes") ?: 0,
            json.double("milliseconds") ?: 0.0,
        )
    }
}

/** How a machine ended, and what was saved of it. */
data class Ended(val how: How, val saved: Checkpoint?, val restoreMillis: Double?, val firstOutputMillis: Double?) {
    sealed interface How {
        /** Its program has exited. */
        data class Exited(val status: Int) : How

        /** It was stopped. */
        data object Stopped : How

        /** A signal ended it. */
        data class Signalled(val signal: Int) : How
    }
}
