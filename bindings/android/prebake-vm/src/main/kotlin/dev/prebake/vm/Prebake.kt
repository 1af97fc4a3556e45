package dev.prebake.vm

import java.io.Closeable
import java.io.DataInputStream
import java.io.DataOutputStream
import java.io.File
import java.io.IOException
import java.net.InetAddress
import java.net.UnknownHostException
import java.security.SecureRandom
import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicLong
import kotlin.concurrent.thread
import kotlin.time.Duration.Companion.seconds
import kotlin.time.TimeSource
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withContext

/**
 * A process of `prebake serve`, and its protocol. One process runs any number of machines; if it dies, this program does not.
 *
 * [close] ends it as a program that goes away does: sessions are saved, machines end.
 */
class Prebake private constructor(private val process: Process, private val resolver: Resolver?) : Closeable {
    private val input = DataOutputStream(process.outputStream.buffered())
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.IO)
    /** Threads besides those that the app has for others: a guest may ask for names that are long in coming. */
    private val lookups = Dispatchers.IO.limitedParallelism(LOOKUPS)
    private val calls = ConcurrentHashMap<Long, Call>()
    private val machines = ConcurrentHashMap<Long, Vm>()
    private val last = AtomicLong()
    private val ready = CompletableDeferred<String>()
    private val random = SecureRandom()
    private val reader = thread(name = "prebake-output", isDaemon = true) { read() }

    private class Call(val progress: ((Progress) -> Unit)?) {
        val answer = CompletableDeferred<Map<*, *>>()
    }

    /** What the user may want to know, in words. It is called by a thread of this class, and must not wait. */
    @Volatile var onNotice: (String) -> Unit = {}

    /** The version of prebake. */
    suspend fun version(): String = ready.await()

    /** Whether the process still runs. */
    val isAlive: Boolean get() = process.isAlive

    /** The number of the process, where this Java tells it. */
    val pid: Long get() = process.toString().substringAfter("pid=").takeWhile(Char::isDigit).toLongOrNull() ?: -1

    /**
     * Makes sure that what [reference] names is in the store, and keeps it there while this process lives. Asks the registry what it names now. Cancelling
     * the coroutine gives it up; what was fetched so far is kept, and the next call goes on from there.
     *
     * @param onProgress is called by a thread of this class, and must not wait. What it throws ends the call.
     */
    suspend fun ensure(
        reference: String,
        offline: Boolean = false,
        verifyKey: String? = null,
        onProgress: ((Progress) -> Unit)? = null,
    ): Artifacts {
        val parameters = buildMap<String, Any?> {
            put("reference", reference)
            if (offline) put("offline", true)
            verifyKey?.let { put("verify_key", it) }
        }
        return Artifacts.of(call("ensure", parameters, onProgress))
    }

    suspend fun images(): List<Image> = call("images").list("images").map { Image.of(it.obj()) }

    suspend fun sessions(): List<SavedSession> = call("sessions").list("sessions").map { SavedSession.of(it.obj()) }

    /** Ends a session for good. */
    suspend fun removeSession(name: String) {
        call("remove-session", mapOf("name" to name))
    }

    /** Forgets [references], and removes the files that nothing else needs. */
    suspend fun prune(references: List<String> = emptyList()): Pruned = call("prune", mapOf("references" to references)).let {
        Pruned(it.long("files") ?: 0, it.long("bytes") ?: 0, it.long("in_use") ?: 0)
    }

    /**
     * Starts a machine, with a seed drawn by this program for this start alone. What fails later, say because there is no such image, [Vm.await] throws.
     */
    suspend fun start(spec: VmSpec): Vm {
        val vm = Vm(this, last.incrementAndGet())
        machines[vm.number] = vm
        val seed = ByteArray(64).also(random::nextBytes)
        try {
            call("start", mapOf("machine" to vm.number, "spec" to spec.json(seed)))
        } catch (e: CancellationException) {
            // It may have been started, and nobody else could end it.
            vm.discardOutput()
            withContext(NonCancellable) { runCatching { request(last.incrementAndGet(), "stop", mapOf("machine" to vm.number)) } }
            throw e
        } catch (e: PrebakeException) {
            machines.remove(vm.number)
            throw e
        }
        return vm
    }

    /** Ends the process: what is in sessions is saved. Returns when it is gone, or kills it after [timeoutSeconds]. */
    fun close(timeoutSeconds: Long) {
        // It may be gone already. Whoever writes to one that does not read has to be waited for.
        val closing = thread(name = "prebake-close", isDaemon = true) { runCatching { synchronized(input) { input.close() } } }
        machines.values.forEach { it.discardOutput() }
        end(timeoutSeconds)
        closing.join()
        reader.join()
    }

    /** Waits until the process is gone, or kills it after [timeoutSeconds]. Returns its status. */
    private fun end(timeoutSeconds: Long): Int {
        if (!process.waitFor(timeoutSeconds, TimeUnit.SECONDS)) process.destroyForcibly()
        return process.waitFor()
    }

    override fun close() = close(timeoutSeconds = 30)

    internal suspend fun call(method: String, parameters: Map<String, Any?> = emptyMap(), progress: ((Progress) -> Unit)? = null): Map<*, *> {
        ready.await()
        val id = last.incrementAndGet()
        val call = Call(progress)
        calls[id] = call
        try {
            request(id, method, parameters)
            return call.answer.await()
        } finally {
            // Whatever has no answer yet is not waited for any more.
            if (calls.remove(id) != null) {
                withContext(NonCancellable) { runCatching { request(last.incrementAndGet(), "cancel", mapOf("id" to id)) } }
            }
        }
    }

    private suspend fun request(id: Long, method: String, parameters: Map<String, Any?>) =
        send(mapOf("jsonrpc" to "2.0", "id" to id, "method" to method, "params" to parameters))

    private suspend fun send(message: Map<String, Any?>) = write { writeMessage(Json.write(message)) }

    internal suspend fun sendBytes(machine: Long, bytes: ByteArray, offset: Int, length: Int) =
        write { writeBytes(machine, bytes, offset, length) }

    private suspend fun write(frame: DataOutputStream.() -> Unit) = withContext(Dispatchers.IO) {
        try {
            synchronized(input) { input.frame() }
        } catch (e: IOException) {
            throw PrebakeException.ProcessDied("prebake has ended", e)
        }
    }

    private fun read() {
        var cause: Throwable? = null
        try {
            val output = DataInputStream(process.inputStream.buffered())
            while (true) {
                when (val frame = output.readFrame() ?: break) {
                    // What the machine writes waits for its collector, and so does everything behind it.
                    is Frame.Bytes -> machines[frame.machine]?.let { vm -> runBlocking { vm.wrote(frame.stream, frame.bytes) } }
                    is Frame.Message -> take(Json.read(frame.text).obj())
                }
            }
        } catch (e: Throwable) {
            cause = e
            process.destroy()
        }
        val status = runCatching { end(PATIENCE_SECONDS) }.getOrNull()
        val died = PrebakeException.ProcessDied("prebake has ended${status?.let { " with status $it" }.orEmpty()}", cause)
        ready.completeExceptionally(died)
        calls.values.forEach { it.answer.completeExceptionally(died) }
        machines.values.forEach { it.ended(Result.failure(died)) }
        machines.clear()
        scope.cancel()
    }

    private fun take(message: Map<*, *>) {
        val parameters = message["params"].obj()
        val id = message.long("id")
        when (message.text("method")) {
            null -> {
                val answer = id?.let { calls.remove(it) }?.answer ?: return
                val error = message["error"] as? Map<*, *>
                if (error == null) answer.complete(message["result"].obj()) else answer.completeExceptionally(failure(error))
            }
            "ready" -> ready.complete(parameters.text("version").orEmpty())
            "progress" -> calls[parameters.long("id") ?: return]?.let { call ->
                // What the caller's own function throws is the end of the call, and of nothing else.
                runCatching { call.progress?.invoke(Progress.of(parameters)) }.onFailure { call.answer.completeExceptionally(it) }
            }
            "notice" -> onNotice(parameters.text("text").orEmpty())
            "consumed" -> machines[parameters.long("machine") ?: return]?.consumed(parameters.long("bytes") ?: 0)
            "ended" -> machines.remove(parameters.long("machine") ?: return)?.ended(ending(parameters))
            "resolve" -> {
                val asked = TimeSource.Monotonic.markNow()
                scope.launch(lookups) {
                    if (asked.elapsedNow() < LOOKUP) answerLookup(id ?: return@launch, parameters.text("name").orEmpty())
                }
            }
        }
    }

    private suspend fun answerLookup(id: Long, name: String) {
        val answer: Pair<String, Any?> = try {
            "result" to mapOf("addresses" to resolver?.resolve(name).orEmpty().map { it.hostAddress?.substringBefore('%') })
        } catch (e: Exception) {
            "error" to mapOf("code" to 1, "message" to (e.message ?: "the name cannot be looked up"))
        }
        runCatching { send(mapOf("jsonrpc" to "2.0", "id" to id, answer)) }
    }

    private fun failure(error: Map<*, *>) =
        PrebakeException.of(error["data"].obj().text("kind") ?: error.text("kind") ?: "unknown", error.text("message").orEmpty())

    private fun ending(json: Map<*, *>): Result<Ended> {
        val how = when (json.text("ending")) {
            "exited" -> Ended.How.Exited((json.long("status") ?: 0).toInt())
            "stopped" -> Ended.How.Stopped
            "signalled" -> Ended.How.Signalled((json.long("signal") ?: 0).toInt())
            else -> return Result.failure(failure(json["error"].obj()))
        }
        val saved = (json["saved"] as? Map<*, *>)?.let(Checkpoint::of)
        return Result.success(Ended(how, saved, json.double("restore_ms"), json.double("first_output_ms")))
    }

    /** Looks up names of hosts for prebake and its guests, where they cannot. */
    fun interface Resolver {
        /** The addresses of [name]; none if there is no such name. It may block. */
        fun resolve(name: String): List<InetAddress>

        companion object {
            /** Java's own, which is Android's. */
            val System = Resolver { name ->
                try {
                    InetAddress.getAllByName(name).toList()
                } catch (_: UnknownHostException) {
                    emptyList()
                }
            }
        }
    }

    companion object {
        /** Seconds that a process has to end, once it has closed its output or has been told to end. */
        private const val PATIENCE_SECONDS = 30L
        private const val LOOKUPS = 128
        /** Nobody waits for one that takes longer. */
        private val LOOKUP = 15.seconds

        /**
         * Starts the program at [executable], with everything that it writes below [home].
         *
         * @param resolver looks up names of hosts, or `null` if the program can do that itself, as it can on a desktop.
         * @param environment further variables, for example `PREBAKE_MACHINE`.
         * @param wrapper a command to start the program with, for tests.
         */
        fun start(
            executable: File,
            home: File,
            resolver: Resolver? = Resolver.System,
            environment: Map<String, String> = emptyMap(),
            wrapper: List<String> = emptyList(),
        ): Prebake {
            val arguments = listOfNotNull(executable.path, "serve", "--resolve".takeIf { resolver != null })
            val temporary = File(home, "temporary").apply { mkdirs() }
            val builder = ProcessBuilder(wrapper + arguments).redirectError(ProcessBuilder.Redirect.INHERIT)
            builder.environment().putAll(
                mapOf(
                    "PREBAKE_HOME" to File(home, "store").path,
                    "PREBAKE_CACHE" to File(home, "cache").path,
                    "PREBAKE_CONFIG" to File(home, "configuration").path,
                    "TMPDIR" to temporary.path,
                ) + environment,
            )
            return try {
                Prebake(builder.start(), resolver)
            } catch (e: IOException) {
                throw PrebakeException.ProcessDied("cannot start ${executable.path}", e)
            }
        }
    }
}
