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
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds
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
import kotlinx.coroutines.withContext

/**
 * A `prebake serve` process, which fetches images and runs machines.
 *
 * [start] starts the process. One process can run many machines. If it crashes or is killed, pending and later calls throw [PrebakeException.ProcessDied], and
 * sessions can be resumed by a new process. [close] saves all sessions and ends the process.
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

    /** Receives messages for the user. It is called on an internal thread and must return quickly. */
    @Volatile var onNotice: (String) -> Unit = {}

    /** Returns the version of prebake. */
    suspend fun version(): String = ready.await()

    /** `true` while the process is running. */
    val isAlive: Boolean get() = process.isAlive

    /** The process ID, or `null` if this version of Java or Android does not tell. */
    val pid: Long? get() = process.toString().substringAfter("pid=").takeWhile(Char::isDigit).toLongOrNull()

    /**
     * Fetches the image that [reference] names now, unless it is in the store already, and returns its files. They stay in the store while this process runs.
     *
     * If the registry cannot be reached, the version that was pulled last is returned. If the coroutine is cancelled, the download stops; the next call resumes it.
     *
     * @param offline uses the store alone, without asking the registry.
     * @param verifyKey a public key in PEM format that must have signed the image.
     * @param onProgress receives progress on an internal thread and must return quickly. If it throws, `ensure` throws the same.
     * @throws PrebakeException.NotFound if there is no such image.
     * @throws PrebakeException.Unreachable if the registry cannot be reached and the image was never pulled.
     * @throws PrebakeException.Unauthorized if the registry refuses access.
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

    /** Returns the images in the store. */
    suspend fun images(): List<Image> = call("images").list("images").map { Image.of(it.obj()) }

    /** Returns all sessions. */
    suspend fun sessions(): List<SavedSession> = call("sessions").list("sessions").map { SavedSession.of(it.obj()) }

    /**
     * Deletes a session and everything saved in it.
     *
     * @throws PrebakeException.SessionInUse if a machine is using it.
     */
    suspend fun removeSession(name: String) {
        call("remove-session", mapOf("name" to name))
    }

    /** Removes the images named by [references], and all files that no image, session or machine needs. */
    suspend fun prune(references: List<String> = emptyList()): Pruned = call("prune", mapOf("references" to references)).let {
        Pruned(it.long("files") ?: 0, it.long("bytes") ?: 0, it.long("in_use") ?: 0)
    }

    /**
     * Starts a machine and returns at once, while the image is fetched and restored. If that fails, [Vm.await] throws the reason.
     *
     * Each start gives the guest's random generator a new seed from [SecureRandom].
     *
     * @throws PrebakeException if [spec] is invalid.
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

    /** Saves all sessions, ends all machines and the process, and waits for that. After [timeout] the process is killed. */
    fun close(timeout: Duration) {
        // It may be gone already. Whoever writes to one that does not read has to be waited for.
        val closing = thread(name = "prebake-close", isDaemon = true) { runCatching { synchronized(input) { input.close() } } }
        machines.values.forEach { it.discardOutput() }
        end(timeout)
        closing.join()
        reader.join()
    }

    /** Waits for the process, and kills it after [timeout]. Returns its exit status. */
    private fun end(timeout: Duration): Int {
        if (!process.waitFor(timeout.inWholeMilliseconds, TimeUnit.MILLISECONDS)) process.destroyForcibly()
        return process.waitFor()
    }

    /** Does the same with a timeout of 30 seconds. */
    override fun close() = close(PATIENCE)

    internal suspend fun call(method: String, parameters: Map<String, Any?> = emptyMap(), progress: ((Progress) -> Unit)? = null): Map<*, *> {
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
                    is Frame.Bytes -> machines[frame.machine]?.wrote(frame.stream, frame.bytes)
                    is Frame.Message -> take(Json.read(frame.text).obj())
                }
            }
        } catch (e: Throwable) {
            cause = e
            process.destroy()
        }
        val status = runCatching { end(PATIENCE) }.getOrNull()
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
        val cause = when (json.text("ending")) {
            "exited" -> Ended.Cause.Exited((json.long("status") ?: 0).toInt())
            "stopped" -> Ended.Cause.Stopped
            "signalled" -> Ended.Cause.Signalled((json.long("signal") ?: 0).toInt())
            else -> return Result.failure(failure(json["error"].obj()))
        }
        val saved = (json["saved"] as? Map<*, *>)?.let(Checkpoint::of)
        return Result.success(Ended(cause, saved, json.double("restore_ms")?.milliseconds, json.double("first_output_ms")?.milliseconds))
    }

    /** Looks up host names for prebake and its guests. */
    fun interface Resolver {
        /** Returns the addresses of [name], or an empty list if there is no such name. It may block. */
        fun resolve(name: String): List<InetAddress>

        companion object {
            /** The resolver of Java, which on Android is the system's. */
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
        /** The time that a process has to end, once it has closed its output or its input was closed. */
        private val PATIENCE = 30.seconds
        private const val LOOKUPS = 128
        /** Nobody waits for one that takes longer. */
        private val LOOKUP = 15.seconds

        /**
         * Starts the program [executable].
         *
         * @param home the directory for images, sessions and everything else that prebake writes.
         * @param resolver looks up host names. With `null` the program does that itself, which works on a desktop but not on Android.
         * @param environment additional environment variables, for example `PREBAKE_MACHINE`.
         * @param wrapper a command that starts the program, for tests.
         * @throws PrebakeException.ProcessDied if the program cannot be started.
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
