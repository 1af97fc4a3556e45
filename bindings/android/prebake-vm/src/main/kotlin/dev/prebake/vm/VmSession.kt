package dev.prebake.vm

import java.io.Closeable
import kotlin.time.Duration
import kotlin.time.Duration.Companion.minutes
import kotlin.time.TimeSource
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.MutableSharedFlow
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.SharedFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asSharedFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.update
import kotlinx.coroutines.launch
import kotlinx.coroutines.selects.select

/**
 * A machine that outlives its process: it is fetched and restored, saved regularly, and restored from its last save if the process dies.
 *
 * It starts as soon as it is created.
 *
 * @param spec the machine.
 * @param checkpointEvery how often the machine is saved while something happens in it.
 * @param launch starts the process for the machine.
 */
class VmSession(
    private val spec: VmSpec,
    private val checkpointEvery: Duration = 5.minutes,
    private val launch: () -> Prebake,
) : Closeable {
    /** Where the machine is in its life. */
    sealed interface State {
        /** The image is being fetched, or the machine restored. */
        data class Preparing(val progress: Progress?) : State

        /** The machine is running. */
        data object Running : State

        /** The machine has ended. */
        data class Ended(val end: dev.prebake.vm.Ended) : State

        /** The machine could not be started, or its process died again and again. */
        data class Failed(val error: PrebakeException) : State

        /** `true` for [Ended] and [Failed], which no other state follows. */
        val isFinal: Boolean get() = this is Ended || this is Failed
    }

    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.IO)
    private val states = MutableStateFlow<State>(State.Preparing(null))
    private val shown = MutableSharedFlow<ByteArray>(replay = SCROLLBACK)
    private val job: Job

    @Volatile private var vm: Vm? = null
    @Volatile private var active = false
    @Volatile private var size: VmSpec.Terminal? = spec.terminal
    private val stopping = CompletableDeferred<Unit>()

    /** The current state. */
    val state: StateFlow<State> = states.asStateFlow()

    /**
     * The output of the machine. A new collector first receives the latest output again, enough to fill a terminal.
     *
     * A slow collector suspends the guest. While the machine is being stopped, output that is not collected at once is dropped.
     */
    val output: SharedFlow<ByteArray> = shown.asSharedFlow()

    init {
        job = scope.launch { keepAlive() }
    }

    private suspend fun keepAlive() {
        var deaths = 0
        while (true) {
            val begun = TimeSource.Monotonic.markNow()
            try {
                return runOnce()
            } catch (e: PrebakeException.ProcessDied) {
                // It was killed, or has crashed: what was saved last is still there. One that dies again and again has a reason to.
                if (begun.elapsedNow() > 1.minutes) deaths = 0
                if (stopping.isCompleted || ++deaths > MAX_DEATHS) return states.emit(State.Failed(e))
                states.value = State.Preparing(null)
                delay(RESTART_MILLIS)
            } catch (e: PrebakeException) {
                return states.emit(State.Failed(e))
            }
        }
    }

    private suspend fun runOnce() {
        val prebake = launch()
        try {
            val source = spec.source
            if (source is VmSpec.Source.Image) {
                prebake.ensure(source.reference, offline = spec.offline) { states.value = State.Preparing(it) }
            }
            // The registry has just been asked.
            val vm = prebake.start(spec.copy(terminal = size, offline = spec.offline || source is VmSpec.Source.Image))
            this.vm = vm
            states.value = State.Running
            val ended = coroutineScope {
                val saving = launch { saveNowAndThen(vm) }
                vm.output.collect {
                    active = true
                    show(it.bytes)
                }
                saving.cancel()
                vm.await()
            }
            // It is saved: nobody needs to wait for the process.
            states.value = State.Ended(ended)
        } finally {
            vm = null
            prebake.close()
        }
    }

    private suspend fun show(bytes: ByteArray) {
        if (shown.tryEmit(bytes) || stopping.isCompleted) return
        coroutineScope {
            val waiting = launch { shown.emit(bytes) }
            select {
                waiting.onJoin {}
                stopping.onAwait {}
            }
            waiting.cancel()
        }
    }

    private suspend fun saveNowAndThen(vm: Vm) {
        while (true) {
            delay(checkpointEvery)
            if (active) {
                active = false
                // The next time may do.
                runCatching { vm.checkpoint() }
            }
        }
    }

    /** Sends [bytes] to the guest's terminal. Suspends until the machine is running. Input is lost if the process dies before the guest reads it. */
    suspend fun write(bytes: ByteArray) {
        state.first { it !is State.Preparing }
        unlessEnded { vm?.write(bytes) }
        active = true
    }

    /** Changes the size of the terminal, also of machines that are restored later. */
    suspend fun resize(columns: Int, rows: Int) {
        size = size?.copy(columns = columns, rows = rows)
        unlessEnded { vm?.resize(columns, rows) }
    }

    /** A machine may end at any time, and the state tells that it has. */
    private suspend fun unlessEnded(work: suspend () -> Unit) {
        try {
            work()
        } catch (_: PrebakeException.MachineEnded) {
        } catch (_: PrebakeException.ProcessDied) {
        }
    }

    /** Saves the machine now. Returns `null` if there is nothing to save yet. */
    suspend fun checkpoint(): Checkpoint? = try {
        vm?.checkpoint()
    } catch (e: PrebakeException) {
        if (e.kind in NOTHING_TO_SAVE) null else throw e
    }

    /** Suspends until the machine has ended or failed, and returns that state. */
    suspend fun await(): State = state.first { it.isFinal }

    /** Saves and ends the machine. Returns once it is saved. */
    suspend fun stop() {
        stopping.complete(Unit)
        val running = vm
        if (running != null) {
            // That it has ended by itself, or died, is told by the state.
            unlessEnded { running.stop() }
        } else if (!state.value.isFinal) {
            job.cancelAndJoin()
            states.update { if (it.isFinal) it else State.Ended(Ended(Ended.Cause.Stopped, null, null, null)) }
        }
        await()
    }

    /** Ends the machine without waiting. Its process saves it before it exits. */
    override fun close() {
        stopping.complete(Unit)
        scope.cancel()
    }

    private companion object {
        /** Chunks of output that a new collector gets. */
        const val SCROLLBACK = 256
        const val MAX_DEATHS = 3
        const val RESTART_MILLIS = 200L
        val NOTHING_TO_SAVE = setOf("nothing-to-keep", "machine-ended", "keeps-nothing")
    }
}
