package dev.prebake.vm

import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.channels.trySendBlocking
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.receiveAsFlow
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock

/**
 * A running machine. [Prebake.start] starts one.
 *
 * Its functions may be called from any coroutine.
 */
class Vm internal constructor(private val prebake: Prebake, internal val number: Long) {
    private val chunks = Channel<Output>(CHUNKS)
    private val end = CompletableDeferred<Ended>()
    private val room = Channel<Unit>(Channel.CONFLATED)
    private val typing = Mutex()

    @Volatile private var ahead = 0L

    /**
     * Everything the guest writes, in order, until the machine ends.
     *
     * Collect this flow once, and keep collecting: while output waits for its collector, the guest is suspended, and so are all other calls to the same [Prebake].
     */
    val output: Flow<Output> = chunks.receiveAsFlow()

    /** `true` once the machine has ended. */
    val hasEnded: Boolean get() = end.isCompleted

    /**
     * Sends [bytes] to the guest's standard input. Suspends while the guest has too much unread input. Does nothing once the machine has ended.
     *
     * @throws PrebakeException.ProcessDied if the process of prebake is gone.
     */
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

    /** Sends [text] as UTF-8. */
    suspend fun write(text: String) = write(text.toByteArray())

    /**
     * Closes the guest's standard input.
     *
     * A machine with a terminal is saved and ends, as if its user had closed the window.
     */
    suspend fun closeInput() = typing.withLock { prebake.sendBytes(number, ByteArray(0), 0, 0) }

    /**
     * Changes the size of the terminal.
     *
     * @throws PrebakeException.MachineEnded if the machine has ended.
     */
    suspend fun resize(columns: Int, rows: Int) {
        prebake.call("resize", mapOf("machine" to number, "columns" to columns, "rows" to rows))
    }

    /**
     * Sends a signal to the guest's program, for example 15 for SIGTERM.
     *
     * @param signal a number from 1 to 64.
     * @throws PrebakeException.MachineEnded if the machine has ended.
     */
    suspend fun signal(signal: Int) {
        prebake.call("signal", mapOf("machine" to number, "number" to signal))
    }

    /**
     * Saves the machine's state in its session while the machine keeps running. Returns once the state is on the disk.
     *
     * @throws PrebakeException.MachineEnded if the machine has ended.
     */
    suspend fun checkpoint(): Checkpoint = Checkpoint.of(prebake.call("checkpoint", mapOf("machine" to number)))

    /**
     * Ends the machine, after saving its state if it is in a session, and returns how it ended.
     *
     * @throws PrebakeException if the machine had failed.
     */
    suspend fun stop(): Ended {
        try {
            prebake.call("stop", mapOf("machine" to number))
        } catch (_: PrebakeException.MachineEnded) {
            // It has stopped by itself.
        }
        return await()
    }

    /**
     * Suspends until the machine ends.
     *
     * @throws PrebakeException if the machine could not be started, or failed.
     */
    suspend fun await(): Ended = end.await()

    internal fun wrote(stream: Int, bytes: ByteArray) {
        // It fails only where nobody wants it any more.
        chunks.trySendBlocking(Output(if (stream == 2) Output.Stream.Stderr else Output.Stream.Stdout, bytes))
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
