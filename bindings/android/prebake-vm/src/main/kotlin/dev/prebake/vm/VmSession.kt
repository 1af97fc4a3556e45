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
 * One machine, kept alive: it is fetched, restored, saved now and then, and restored where it was last saved if its process dies.
 *
 * @param launch starts the process that runs it.
 * @param checkpointEvery how often it is saved while something happens in it.
 */
class VmSession(
    private val spec: VmSpec,
    private val checkpointEvery: Duration = 5.minutes,
    private val launch: () -> Prebake,
) : Closeable {
    sealed interface State {
        /** It is being fetched, or restored. */
        data class Preparing(val progress: Progress?) : State

        data object Running : State

        data class Ended(val how: dev.prebake.vm.Ended) : State

        data class Failed(val error: PrebakeException) : State

        /** Nothing comes after it. */
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

    val state: StateFlow<State> = states.asStateFlow()

    /**
     * What the terminal shows: to a new collector what it showed last, then what comes. A collector that is slow makes the guest wait, except while it is
     * being stopped: what is then not taken at once is left out.
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

    /** Types [bytes]. Waits until there is a machine to type at; if that dies meanwhile, what was typed is lost. */
    suspend fun write(bytes: ByteArray) {
        state.first { it !is State.Preparing }
        unlessEnded { vm?.write(bytes) }
        active = true
    }

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

    /** Saves it now. `null` if there is nothing to save yet. */
    suspend fun checkpoint(): Checkpoint? = try {
        vm?.checkpoint()
    } catch (e: PrebakeException) {
        if (e.kind in NOTHING_TO_SAVE) null else throw e
    }

    /** Waits until it has ended or failed, and returns how. */
    suspend fun await(): State = state.first { it.isFinal }

    /** Saves and ends it. Returns once it is saved. */
    suspend fun stop() {
        stopping.complete(Unit)
        val running = vm
        if (running != null) {
            // That it has ended by itself, or died, is told by the state.
            unlessEnded { running.stop() }
        } else if (!state.value.isFinal) {
            job.cancelAndJoin()
            states.update { if (it.isFinal) it else State.Ended(Ended(Ended.How.Stopped, null, null, null)) }
        }
        await()
    }

    /** Ends it, without waiting: its process saves what is not saved yet. */
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
