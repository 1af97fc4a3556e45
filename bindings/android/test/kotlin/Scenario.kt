package dev.prebake.test

import android.content.Intent
import dev.prebake.android.VmService
import dev.prebake.registry.Download
import dev.prebake.registry.WasmArtifactProvider
import dev.prebake.vm.Ended
import dev.prebake.vm.Output
import dev.prebake.vm.Prebake
import dev.prebake.vm.PrebakeException
import dev.prebake.vm.Progress
import dev.prebake.vm.Vm
import dev.prebake.vm.VmSession
import dev.prebake.vm.VmSpec
import java.io.ByteArrayOutputStream
import java.io.File
import java.net.InetAddress
import java.net.ServerSocket
import java.net.Socket
import java.nio.ByteBuffer
import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.CountDownLatch
import java.util.concurrent.atomic.AtomicInteger
import kotlin.concurrent.thread
import kotlin.system.exitProcess
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout

/**
 * The program; a registry with `demo:1`, whose tag `demo:moving` is moved by a script; the same one by TLS with `alpine:1`, under a name that this host
 * does not know, with the certificates of its authority; and a folder for everything that is written.
 */
class World(
    val executable: File,
    val registry: String,
    val named: String,
    val authorities: File,
    val folder: File,
    val wrapper: List<String>,
    val move: List<String>,
) {
    private val homes = AtomicInteger()

    fun home() = File(folder, "home-${homes.incrementAndGet()}").apply { mkdirs() }

    fun prebake(home: File, resolver: Prebake.Resolver? = null, environment: Map<String, String> = emptyMap()) =
        Prebake.start(executable, home, resolver, environment, wrapper)

    val image get() = "$registry/demo:1"
}

inline fun check(condition: Boolean, message: () -> String) {
    if (!condition) throw AssertionError(message())
}

/** Whoever sits at a machine. */
class User(private val vm: Vm) {
    private val seen = StringBuilder()
    private val chunks = Channel<String>(Channel.UNLIMITED)

    suspend fun collect() = try {
        vm.output.collect { chunks.send(it.toString()) }
    } finally {
        chunks.close()
    }

    suspend fun waitFor(text: String): String = withTimeout(600_000) {
        while (!seen.contains(text)) {
            seen.append(chunks.receiveCatching().getOrNull() ?: throw AssertionError("`$text` was not shown: $seen"))
        }
        val end = seen.indexOf(text) + text.length
        seen.substring(0, end).also { seen.delete(0, end) }
    }

    suspend fun ask(command: String, answer: String) {
        vm.write("$command\n")
        waitFor("\r\n$answer\r\n")
    }
}

/** Works at a machine that runs, and ends it unless [work] has. */
suspend fun <T> Prebake.at(spec: VmSpec, work: suspend (Vm, User) -> T): T = coroutineScope {
    val vm = start(spec)
    val user = User(vm)
    val collecting = launch(Dispatchers.IO) { user.collect() }
    try {
        work(vm, user)
    } finally {
        if (!vm.hasEnded) vm.stop()
        collecting.join()
    }
}

/** Waits until the terminal has shown [text], of which it is only sure that it comes in order. */
suspend fun VmSession.waitFor(text: String) {
    val seen = StringBuilder()
    withTimeout(600_000) { output.first { seen.append(String(it)).contains(text) } }
}

private fun shell(world: World, session: String?) = VmSpec(VmSpec.Source.Image(world.image), session = session, fresh = session == null)

/** A way to the registry, which may stop passing on what comes from there. */
class Way(registry: String) : AutoCloseable {
    enum class Stop { Breaks, Waits }

    private val server = ServerSocket(0, 50, InetAddress.getLoopbackAddress())
    private val port = registry.substringAfter(':').toInt()
    val address = "localhost:${server.localPort}"
    private val count = AtomicInteger()
    /** Bytes that have come from the registry. */
    val bytes get() = count.get()
    /** What happens once there were so many of them. */
    @Volatile var stop: Pair<Int, Stop>? = null

    init {
        thread(isDaemon = true) {
            while (true) {
                val client = try { server.accept() } catch (_: Exception) { break }
                thread(isDaemon = true) { relay(client) }
            }
        }
    }

    private fun relay(client: Socket) = client.use {
        Socket("localhost", port).use { upstream ->
            thread(isDaemon = true) { runCatching { client.getInputStream().copyTo(upstream.getOutputStream()) } }
            runCatching {
                val buffer = ByteArray(16 shl 10)
                while (true) {
                    val length = upstream.getInputStream().read(buffer)
                    if (length < 0) break
                    val total = count.addAndGet(length)
                    val (most, how) = stop ?: (Int.MAX_VALUE to Stop.Breaks)
                    if (total > most) {
                        while (how == Stop.Waits && stop != null) Thread.sleep(10)
                        break
                    }
                    client.getOutputStream().write(buffer, 0, length)
                }
            }
        }
    }

    override fun close() = server.close()
}

/** What is done, and what it shows. */
class Scenario(private val world: World, private val long: Boolean) {
    private var passed = 0
    private var failed = 0

    private fun test(name: String, work: suspend () -> Unit) {
        val start = System.nanoTime()
        val problem = runCatching { runBlocking(Dispatchers.Default) { work() } }.exceptionOrNull()
        println("${if (problem == null) "ok" else "FAILED"} ${(System.nanoTime() - start) / 1_000_000} ms: $name")
        problem?.printStackTrace(System.out)
        if (problem == null) passed++ else failed++
    }

    /** Whether everything is as it should be. */
    fun run(): Boolean {
        test("an image is fetched with progress, once", ::fetched)
        test("a download that is cut goes on where it was, and one that is cancelled keeps what has come", ::cut)
        test("a tag that moves brings a new pair, and nothing else does", ::moved)
        test("what was saved is there after kill -9", ::killed)
        test("two clones draw different numbers", ::clones)
        test("streams are byte-exact, and a status comes back", ::streams)
        test("names are looked up by the app, a registry's and those that a guest asks for", ::named)
        test("failures have kinds", ::failures)
        test("a session that is kept alive goes on after its process has died", ::keptAlive)
        test("a swipe saves before the service stops", ::swiped)
        test("a swipe saves while the guest writes and no screen reads", ::swipedWhileItWrites)
        test("a service ends with its machine, and may be started again", ::exited)
        test("a service goes on where it was", ::restarted)
        test("a process that does not read can be closed", ::stalled)
        test("names that are long in coming take nobody's threads", ::lookups)
        if (long) {
            test("a process that talks nonsense is ended, even if it does not want to", ::nonsense)
            test("a hundred starts leave neither threads nor memory", ::hundred)
            test("the first answer, by these classes and by the program alone", ::overhead)
        }
        println("$passed passed, $failed failed")
        return failed == 0
    }

    /** A process that is not as it should be: `bindings/test/child.py` stands in for it. */
    private fun child(vararg does: String, resolver: Prebake.Resolver? = null) =
        Prebake.start(File("prebake"), world.home(), resolver, wrapper = listOf("python3", System.getenv("PREBAKE_TEST_CHILD"), *does))

    private fun closes(prebake: Prebake) {
        val closing = thread(isDaemon = true) { prebake.close(1.seconds) }
        closing.join(60_000)
        check(!closing.isAlive && !prebake.isAlive) { "it hangs" }
    }

    private suspend fun stalled() = coroutineScope {
        val prebake = child("stall")
        val asking = List(2) { async { runCatching { prebake.prune(listOf("x".repeat(1 shl 20))) }.exceptionOrNull() } }
        // More than the pipe holds.
        delay(500)
        closes(prebake)
        asking.forEach { it.await().let { died -> check(died is PrebakeException.ProcessDied) { "$died" } } }
    }

    private suspend fun lookups() {
        val end = CountDownLatch(1)
        val prebake = child("lookups", resolver = { emptyList<InetAddress>().also { end.await() } })
        try {
            // The first may come before all lookups have begun.
            repeat(3) {
                withTimeout(60_000) { prebake.images() }
                delay(500)
            }
        } finally {
            end.countDown()
        }
        closes(prebake)
    }

    private suspend fun nonsense() {
        for (does in listOf("length", "silence")) {
            val prebake = child("nonsense", does)
            val died = runCatching { withTimeout(120_000) { prebake.images() } }.exceptionOrNull()
            check(died is PrebakeException.ProcessDied) { "$does: $died" }
            closes(prebake)
        }
    }

    private suspend fun fetched() = world.prebake(world.home()).use { prebake ->
        val provider = WasmArtifactProvider(prebake)
        check(provider.cached(world.image) == null) { "it is there already" }
        val events = provider.ensureWithProgress(world.image).toList()
        val pulled = events.filterIsInstance<Download.Running>().map(Download.Running::progress).filter { it.task == "pull" }
        check(pulled.isNotEmpty() && pulled.last().ended && pulled.all { it.total != null }) { "$pulled" }
        val found = (events.last() as Download.Done).artifacts
        check(found.wasmFile.isFile && found.snapshotFile?.isFile == true && !found.isUpdate) { "$found" }
        check(provider.ensure(world.image) { throw AssertionError("fetched again: $it") } == found) { "another one" }
        check(provider.cached(world.image) == found) { "it is not cached" }
        check(prebake.images().map { it.reference to it.digest } == listOf(found.reference to found.digest)) { "${prebake.images()}" }
    }

    private suspend fun cut() {
        val home = world.home()
        fun kept() = File(home, "store/partial").listFiles().orEmpty().sumOf { it.length() }
        Way(world.registry).use { way ->
            val image = "${way.address}/demo:1"
            way.stop = (1 shl 20) to Way.Stop.Breaks
            world.prebake(home).use { prebake ->
                val failure = runCatching { prebake.ensure(image) }.exceptionOrNull()
                check(failure is PrebakeException.Unreachable) { "$failure" }
            }
            val cut = kept()
            check(cut > 0) { "nothing was kept" }
            way.stop = way.bytes + (1 shl 20) to Way.Stop.Waits
            world.prebake(home).use { prebake ->
                coroutineScope {
                    val job = launch(Dispatchers.IO) { prebake.ensure(image) }
                    withTimeout(600_000) { while (kept() < cut + (1 shl 19)) delay(10) }
                    job.cancelAndJoin()
                    check(job.isCancelled) { "it was not cancelled" }
                }
            }
            val cancelled = kept()
            way.stop = null
            val before = way.bytes
            world.prebake(home).use { prebake ->
                val total = CopyOnWriteArrayList<Long>()
                val found = prebake.ensure(image) { progress -> progress.total?.takeIf { progress.task == "pull" }?.let(total::add) }
                check(found.machine.isFile && found.snapshot?.isFile == true) { "$found" }
                // Beside the parts come headers and a manifest.
                check(way.bytes - before < total.last() - cancelled + (64 shl 10)) { "${way.bytes - before} of ${total.last()} came, though $cancelled were there" }
            }
        }
    }

    private suspend fun moved() = world.prebake(world.home()).use { prebake ->
        val provider = WasmArtifactProvider(prebake)
        val image = "${world.registry}/demo:moving"
        val first = provider.ensure(image)
        check(!provider.ensure(image).isUpdate) { "nothing has moved" }
        check(ProcessBuilder(world.move).inheritIO().start().waitFor() == 0) { "cannot move the tag" }
        val second = provider.ensure(image)
        check(second.isUpdate && second.digest != first.digest) { "$second" }
        check(second.wasmFile != first.wasmFile && second.snapshotFile != first.snapshotFile) { "$second" }
    }

    private suspend fun killed() {
        val home = world.home()
        world.prebake(home).use { prebake ->
            prebake.at(shell(world, "work")) { vm, user ->
                user.ask("word=saved; echo \$word", "saved")
                val saved = vm.checkpoint()
                check(saved.session == "work" && saved.pages > 0) { "$saved" }
                user.ask("word=lost; echo \$word", "lost")
                check(ProcessBuilder("kill", "-9", prebake.pid!!.toString()).start().waitFor() == 0) { "kill" }
                check(runCatching { vm.await() }.exceptionOrNull() is PrebakeException.ProcessDied) { "it lives" }
            }
        }
        world.prebake(home).use { prebake ->
            val ended = prebake.at(shell(world, "work")) { vm, user ->
                user.ask("echo \$word", "saved")
                vm.stop()
            }
            check(ended.cause == Ended.Cause.Stopped && ended.saved?.session == "work") { "$ended" }
            check(prebake.sessions().map { it.name } == listOf("work")) { "${prebake.sessions()}" }
        }
    }

    private suspend fun clones() = world.prebake(world.home()).use { prebake ->
        val drawn = List(2) {
            prebake.at(shell(world, null)) { vm, user ->
                vm.write("echo x\$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' ')x\n")
                user.waitFor("\r\nx")
                user.waitFor("x\r\n")
            }
        }
        check(drawn[0].length == 32 + 3 && drawn[0] != drawn[1]) { "$drawn" }
    }

    private suspend fun streams() = world.prebake(world.home()).use { prebake ->
        val spec = VmSpec(VmSpec.Source.Image(world.image), terminal = null, environment = mapOf("A" to "done"))
        val vm = prebake.start(spec)
        coroutineScope {
            val collected = async { vm.output.toList() }
            vm.write("cat; echo \$A >&2; exit 5\na\r\n\u0004")
            vm.closeInput()
            check(vm.await().cause == Ended.Cause.Exited(5)) { "${vm.await()}" }
            val output = collected.await()
            val text = { stream: Output.Stream -> output.filter { it.stream == stream }.joinToString("") }
            check(text(Output.Stream.Stdout) == "a\r\n\u0004" && text(Output.Stream.Stderr) == "done\n") { "$output" }
        }
    }

    private suspend fun named() {
        val asked = CopyOnWriteArrayList<String>()
        val resolver = Prebake.Resolver { name ->
            asked += name
            when (name) {
                world.named.substringBefore(':') -> listOf(InetAddress.getLoopbackAddress())
                "app.prebake.example" -> listOf(InetAddress.getByName("192.0.2.7"))
                else -> emptyList()
            }
        }
        world.prebake(world.home(), resolver, mapOf("SSL_CERT_DIR" to world.authorities.path)).use { prebake ->
            val image = "${world.named}/alpine:1"
            prebake.ensure(image)
            check(asked.distinct() == listOf(world.named.substringBefore(':'))) { "$asked" }
            val spec = VmSpec(VmSpec.Source.Image(image), fresh = true, offline = true)
            prebake.at(spec) { vm, user ->
                vm.write("nslookup -type=a app.prebake.example\n")
                user.waitFor("192.0.2.7")
            }
            check("app.prebake.example" in asked) { "$asked" }
            val other = runCatching { prebake.ensure("other.prebake.example/alpine:1") }.exceptionOrNull()
            check(other is PrebakeException.Unreachable && "other.prebake.example" in asked) { "$other $asked" }
        }
    }

    private suspend fun failures() {
        suspend fun <T> kind(work: suspend () -> T) = (runCatching { work() }.exceptionOrNull() as? PrebakeException)?.let { it::class.simpleName to it.kind }
        val home = world.home()
        world.prebake(home).use { prebake ->
            kind { prebake.ensure("localhost:1/none:1") }.let { check(it == "Unreachable" to "registry-unreachable") { "$it" } }
            val thrown = runCatching { prebake.ensure(world.image) { throw IllegalStateException("mine") } }.exceptionOrNull()
            check(thrown is IllegalStateException && thrown.message == "mine") { "what a caller's function throws: $thrown" }
            check(kind { prebake.ensure("${world.registry}/none:1", offline = true) } == "NotFound" to "not-in-store") { "not-in-store" }
            check(kind { prebake.start(VmSpec(VmSpec.Source.Files(null, File("/nonexistent.snap")))).await() } == "NotFound" to "missing") { "missing" }
            check(kind { prebake.removeSession("none") }?.second == "no-session") { "no-session" }
            check(kind { prebake.start(VmSpec(VmSpec.Source.Session, workdir = "x")) }?.second == "invalid") { "invalid" }
            prebake.at(shell(world, "work")) { _, user ->
                user.ask("echo here", "here")
                prebake.sessions().let { check(it.single().running && it.single().saved == null) { "$it" } }
                check(kind { prebake.start(shell(world, "work")).await() }?.first == "SessionInUse") { "session-in-use" }
            }
        }
        check(kind { Prebake.start(File("/nonexistent"), home) }?.first == "ProcessDied") { "cannot be started" }
        check(kind { Prebake.start(File("/bin/false"), home).use { it.version() } }?.first == "ProcessDied") { "has died" }
    }

    private suspend fun keptAlive() {
        val home = world.home()
        lateinit var last: Prebake
        VmSession(shell(world, "work")) { world.prebake(home).also { last = it } }.use { session ->
            session.waitFor("# ")
            session.write("touch /here; echo ma''de\n".toByteArray())
            session.waitFor("made")
            check(session.checkpoint()?.session == "work") { "not saved" }
            ProcessBuilder("kill", "-9", last.pid!!.toString()).start().waitFor()
            session.state.first { it is VmSession.State.Preparing }
            session.state.first { it is VmSession.State.Running }
            session.write("ls /here && echo st''ill\n".toByteArray())
            session.waitFor("still")
            session.stop()
            check((session.state.value as? VmSession.State.Ended)?.end?.saved?.session == "work") { "${session.state.value}" }
        }
    }

    /** The service, with Android's part played by stubs. */
    private inner class TestService(home: File) : VmService() {
        init {
            testFolder = home
        }

        override fun spec(image: String) = VmSpec(VmSpec.Source.Image(image), session = "app")

        override fun launch() = world.prebake(File(testFolder, "prebake"))

        // However slow this host is.
        override val saveTimeout get() = 60.seconds

        fun terminal() = (onBind(null) as VmBinder).session.value!!
    }

    private suspend fun started(home: File, work: suspend (TestService, VmSession) -> Unit) {
        val service = TestService(home)
        val answer = service.onStartCommand(Intent().putExtra(VmService.EXTRA_IMAGE, world.image), 0, 1)
        check(answer == android.app.Service.START_REDELIVER_INTENT) { "$answer" }
        check(service.testCalls == listOf("startForeground ${1 shl 30}")) { "${service.testCalls}" }
        work(service, service.terminal())
    }

    private suspend fun swiped() {
        val home = world.home()
        started(home) { service, session ->
            session.waitFor("# ")
            session.write("word=swiped; echo x\$word\n".toByteArray())
            session.waitFor("xswiped")
            swipe(service, session)
        }
        started(home) { service, session ->
            session.waitFor("# ")
            session.write("echo y\$word\n".toByteArray())
            session.waitFor("yswiped")
            service.onDestroy()
        }
    }

    /** A screen that is drawn by the main thread takes nothing while that is in `onTaskRemoved`. */
    private suspend fun swipedWhileItWrites() = started(world.home()) { service, session ->
        session.waitFor("# ")
        coroutineScope {
            val screen = launch(Dispatchers.IO) { session.output.collect { awaitCancellation() } }
            session.write("yes\n".toByteArray())
            do {
                val shown = session.output.replayCache.lastOrNull()
                delay(300)
            } while (session.output.replayCache.size < 256 || session.output.replayCache.last() !== shown)
            swipe(service, session)
            screen.cancel()
        }
    }

    private fun swipe(service: TestService, session: VmSession) {
        val start = System.nanoTime()
        service.onTaskRemoved(null)
        val took = (System.nanoTime() - start) / 1_000_000
        val ended = session.state.value as? VmSession.State.Ended
        check(ended?.end?.saved?.session == "app") { "${session.state.value}" }
        check("stopForeground" in service.testCalls && service.testCalls.last().startsWith("stopSelf")) { "${service.testCalls}" }
        println("swipe: $took ms until stopSelf, of them ${ended?.end?.saved?.duration} saving")
        service.onDestroy()
    }

    private suspend fun exited() = started(world.home()) { service, session ->
        session.waitFor("# ")
        session.write("exit 3\n".toByteArray())
        val state = session.await()
        check((state as? VmSession.State.Ended)?.end?.cause == Ended.Cause.Exited(3)) { "$state" }
        withTimeout(60_000) { while ("stopSelf 1" !in service.testCalls) delay(10) }
        check(service.terminal() === session) { "the screen cannot show how it ended" }
        service.onStartCommand(Intent().putExtra(VmService.EXTRA_IMAGE, world.image), 0, 2)
        check(service.terminal() !== session) { "it was not started again" }
        service.terminal().waitFor("# ")
        service.onDestroy()
    }

    private suspend fun restarted() {
        val home = world.home()
        started(home) { service, session ->
            session.waitFor("# ")
            session.write("word=trimmed; echo x\$word\n".toByteArray())
            session.waitFor("xtrimmed")
            service.onTrimMemory(20)
            val state = File(home, "prebake/store/sessions/app/state.snap")
            withTimeout(600_000) { while (!state.exists()) delay(10) }
            service.onDestroy()
        }
        // An intent that is delivered again, and one that the system has lost.
        started(home) { service, session ->
            session.waitFor("# ")
            session.write("echo y\$word\n".toByteArray())
            session.waitFor("ytrimmed")
            service.onDestroy()
        }
        val hidden = TestService(world.home())
        hidden.testRefusesForeground = true
        check(hidden.onStartCommand(Intent().putExtra(VmService.EXTRA_IMAGE, world.image), 0, 1) == android.app.Service.START_NOT_STICKY) { "it was to stop" }
        check(hidden.testCalls == listOf("stopSelf 1")) { "${hidden.testCalls}" }
        val service = TestService(world.home())
        check(service.onStartCommand(null, 0, 1) == android.app.Service.START_NOT_STICKY) { "it was to stop" }
        check(service.testCalls.last() == "stopSelf") { "${service.testCalls}" }
    }

    private suspend fun hundred() = world.prebake(world.home()).use { prebake ->
        prebake.ensure(world.image)
        suspend fun once() = prebake.at(shell(world, null).copy(offline = true)) { _, user -> user.ask("echo here", "here") }
        fun threads(pid: Long) = File("/proc/$pid/task").list().orEmpty().size
        fun resident(pid: Long) = File("/proc/$pid/status").readLines().first { it.startsWith("VmRSS") }.filter(Char::isDigit).toLong()
        repeat(10) { once() }
        System.gc()
        val (own, theirs, memory) = Triple(Thread.activeCount(), threads(prebake.pid!!), resident(prebake.pid!!))
        repeat(100) { once() }
        delay(500)
        System.gc()
        println("100 starts: threads here $own to ${Thread.activeCount()}, of prebake $theirs to ${threads(prebake.pid!!)}, KiB of prebake $memory to ${resident(prebake.pid!!)}")
        check(threads(prebake.pid!!) <= theirs) { "prebake's threads stay" }
        // Workers of coroutines come and go.
        check(Thread.activeCount() <= own + 8) { "threads stay" }
        check(resident(prebake.pid!!) < memory + (16 shl 10)) { "prebake's memory stays" }
    }

    /**
     * Milliseconds from the start of a process to the answer to a command, in turns: of `prebake run`, of `prebake serve` with frames that are there already, and by
     * these classes. They are shown and not judged, as the host may be busy.
     */
    private suspend fun overhead() {
        val home = world.home()
        world.prebake(home).use { it.ensure(world.image) }
        fun start(vararg arguments: String) = ProcessBuilder(world.wrapper + world.executable.path + arguments).redirectError(ProcessBuilder.Redirect.DISCARD).apply {
            environment() += mapOf("PREBAKE_HOME" to File(home, "store").path, "PREBAKE_CACHE" to File(home, "cache").path)
        }.start()
        fun answered(process: Process, told: ByteArray, answer: String, begun: Long): Double {
            process.outputStream.write(told)
            process.outputStream.flush()
            val heard = ByteArrayOutputStream()
            while (answer !in heard.toString(Charsets.ISO_8859_1)) {
                val buffer = ByteArray(4096)
                val count = process.inputStream.read(buffer)
                check(count > 0) { "another answer: $heard" }
                heard.write(buffer, 0, count)
            }
            return ((System.nanoTime() - begun) / 1e6).also { process.destroyForcibly().waitFor() }
        }
        fun alone() = System.nanoTime().let { answered(start("run", "--offline", "--fresh", world.image), "echo here\n".toByteArray(), "here\n", it) }
        fun frame(kind: Int, body: ByteArray) = ByteBuffer.allocate(5 + body.size).putInt(1 + body.size).put(kind.toByte()).put(body).array()
        val spec = """{"image":"${world.image}","fresh":true,"offline":true}"""
        val frames = frame(0, """{"jsonrpc":"2.0","id":1,"method":"start","params":{"machine":2,"spec":$spec}}""".toByteArray()) +
            frame(1, byteArrayOf(0, 0, 0, 2, 0) + "echo here\n".toByteArray())
        fun served() = System.nanoTime().let { answered(start("serve"), frames, "here\n", it) }
        suspend fun bound(): Double {
            val begun = System.nanoTime()
            return world.prebake(home, resolver = null).use { prebake ->
                val vm = prebake.start(VmSpec(VmSpec.Source.Image(world.image), fresh = true, terminal = null, offline = true))
                vm.write("echo here\n")
                check(vm.output.first().toString() == "here\n") { "another answer" }
                (System.nanoTime() - begun) / 1e6
            }
        }
        // The first ones are Java's, which compiles. Each comes first as often as the others.
        val times = List(66) { turn ->
            val order = listOf<suspend () -> Double>({ alone() }, { served() }, { bound() }).withIndex().toMutableList()
            repeat(turn % 3) { order += order.removeAt(0) }
            order.map { (kind, measure) -> kind to measure() }.sortedBy { it.first }.map { it.second }
        }.drop(6)
        fun middle(list: List<Double>) = list.sorted()[list.size / 2]
        val (alone, served, bound) = List(3) { kind -> middle(times.map { it[kind] }) }
        val more = middle(times.map { it[2] - it[1] })
        val fromAlone = middle(times.map { it[2] - it[0] })
        println(
            "first answer from the start of a process on: %.1f ms by prebake run, %.1f ms by prebake serve, %.1f ms by these classes; %+.1f ms beside run and %+.1f ms beside serve in the medians of %d rounds"
                .format(alone, served, bound, fromAlone, more, times.size),
        )
    }
}

fun main(arguments: Array<String>) {
    val (executable, registry, named, authorities, folder) = arguments
    val (mover, length) = arguments.drop(5)
    val world = World(File(executable), registry, named, File(authorities), File(folder), arguments.drop(7), listOf(mover))
    val passed = Scenario(world, length == "long").run()
    exitProcess(if (passed) 0 else 1)
}
