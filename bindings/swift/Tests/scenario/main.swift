// What programs do with the package, in bindings/test/world: scenario PROGRAM [short]
// PROGRAM is prebake itself, beside which the first answer is measured.

import Foundation
import Prebake

setvbuf(stdout, nil, _IOLBF, 0)
let world = ProcessInfo.processInfo.environment
let home = URL(fileURLWithPath: world["PREBAKE_TEST_WORK"]!).appendingPathComponent("swift")
let image = world["PREBAKE_TEST_CUT"]! + "/demo:1"

func check(_ condition: Bool, _ found: @autoclosure () -> Any, line: Int = #line) {
    if !condition {
        print("FAILED line \(line): \(found())")
        exit(1)
    }
}

/// What `work` throws.
func failure(line: Int = #line, _ work: () async throws -> some Any) async -> any Error {
    do {
        let found = try await work()
        print("FAILED line \(line): no error, but \(found)")
        exit(1)
    } catch {
        return error
    }
}

func kind(line: Int = #line, _ work: () async throws -> some Any) async -> String {
    let error = await failure(line: line, work)
    return (error as? PrebakeError)?.kind ?? "\(error)"
}

/// Whoever sits at a machine.
actor User {
    private var output: Output.AsyncIterator
    private(set) var seen = ""

    init(_ machine: Machine) { output = machine.output.makeAsyncIterator() }

    /// What the machine shows up to a text.
    @discardableResult
    func waitFor(_ text: String) async -> String {
        var found = seen.range(of: text)
        while found == nil {
            var output = output
            guard let chunk = await output.next() else {
                check(false, "it has not shown \(text): \(seen)")
                break
            }
            seen += chunk.description
            found = seen.range(of: text)
        }
        defer { seen.removeSubrange(..<found!.upperBound) }
        return String(seen[..<found!.upperBound])
    }
}

func ask(_ machine: Machine, _ user: User, _ command: String, _ answer: String) async throws {
    try await machine.write(command + "\n")
    await user.waitFor("\r\n\(answer)\r\n")
}

func shell(session: String? = nil) -> Machine.Specification {
    var shell = Machine.Specification(image: image, session: session, terminal: .init())
    shell.isFresh = session == nil
    shell.isOffline = true
    return shell
}

/// Bytes of what was fetched in part.
func kept() -> Int {
    let files = try? FileManager.default.contentsOfDirectory(atPath: home.path + "/store/partial")
    return (files ?? []).reduce(0) { sum, name in
        let attributes = try? FileManager.default.attributesOfItem(atPath: home.path + "/store/partial/" + name)
        return sum + (attributes?[.size] as? Int ?? 0)
    }
}

func came() throws -> Int { Int(try String(contentsOfFile: world["PREBAKE_TEST_CAME"]!, encoding: .utf8))! }

func fetched() async throws {
    let prebake = try Prebake(folder: home)
    let cut = await failure { try await prebake.ensure(image) }
    check((cut as? PrebakeError)?.reason == .unreachable && kept() > 0, cut)
    check(FileManager.default.createFile(atPath: world["PREBAKE_TEST_MENDED"]!, contents: nil), "no file")

    let (progress, told) = AsyncStream.makeStream(of: Prebake.Progress.self)
    let download = Task {
        defer { told.finish() }
        return try await prebake.ensure(image) { told.yield($0) }
    }
    for await progress in progress where progress.task == "pull" && progress.fraction! > 0.5 { download.cancel() }
    let cancelled = await failure { try await download.value }
    check(cancelled is CancellationError, cancelled)

    let (before, there) = (try came(), kept())
    let (again, all) = AsyncStream.makeStream(of: Prebake.Progress.self)
    let found = try await prebake.ensure(image) { all.yield($0) }
    all.finish()
    var last: Prebake.Progress?
    for await progress in again where progress.task == "pull" { last = progress }
    // Beside the parts come headers and a manifest.
    check(try last!.hasEnded && came() - before < Int(last!.total!) - there + 64 << 10, "\(before) \(there) \(last!)")
    check(try found.machine.checkResourceIsReachable() && found.snapshot!.checkResourceIsReachable(), found)
    check(try await prebake.ensure(image, offline: true).digest == found.digest, found.digest)
    check(try await prebake.images().map(\.reference) == [found.reference], found.reference)
}

/// The program that is killed.
func work() async throws {
    let machine = try Prebake(folder: home).start(shell(session: "work"))
    let user = User(machine)
    try await ask(machine, user, "word=saved; echo $word", "saved")
    let saved = try await machine.checkpoint()
    check(saved.session == "work" && saved.pages > 0 && saved.duration > .zero, saved)
    try await ask(machine, user, "word=lost; echo $word", "lost")
    kill(getpid(), SIGKILL)
}

func killed() async throws {
    let child = Process()
    child.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    child.arguments = ["work"]
    try child.run()
    child.waitUntilExit()
    check(child.terminationReason == .uncaughtSignal && child.terminationStatus == SIGKILL, child.terminationStatus)

    let prebake = try Prebake(folder: home)
    let machine = try prebake.start(shell(session: "work"))
    let user = User(machine)
    try await ask(machine, user, "echo $word", "saved")
    machine.resize(columns: 100, rows: 30)
    try await ask(machine, user, "stty size", "30 100")
    check(await kind { try await prebake.start(shell(session: "work")).end } == "session-in-use", "two at a time")
    let ended = try await machine.stop()
    check(ended.cause == .stopped && ended.saved?.session == "work" && ended.guestInstructions > 0, ended)
    check(try await machine.end == ended, "it has ended twice")
    check(await kind { try await machine.write("x") } == "machine-ended", "it reads")
    check(try await prebake.sessions().map { "\($0.name) \($0.isRunning)" } == ["work false"], "sessions")
    try await prebake.removeSession(named: "work")
    check(try await prebake.sessions().isEmpty, "it is there")
}

func clones() async throws {
    let prebake = try Prebake(folder: home)
    var drawn: Set<String> = []
    for _ in 0..<2 {
        let machine = try prebake.start(shell())
        let user = User(machine)
        try await machine.write("echo x$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' ')x\n")
        await user.waitFor("\r\nx")
        let number = await user.waitFor("x\r\n")
        check(number.count == 34, number)
        drawn.insert(number)
        try await machine.stop()
    }
    check(drawn.count == 2, drawn)
}

func streams() async throws {
    let prebake = try Prebake(folder: home)
    var specification = Machine.Specification(image: image)
    specification.environment = ["A": "done"]
    specification.isOffline = true
    let machine = try prebake.start(specification)
    try await machine.write("cat; echo $A >&2; exit 5\na\r\n\u{4}")
    machine.closeInput()
    var seen: [Output.Chunk.Stream: Data] = [:]
    for await chunk in machine.output { seen[chunk.stream, default: Data()] += chunk.bytes }
    check(seen == [.output: Data("a\r\n\u{4}".utf8), .error: Data("done\n".utf8)], seen)
    check(try await machine.end.cause == .exited(5), "another status")
}

/// More than may wait: the guest waits for who reads, and whoever goes does not keep it.
func much() async throws {
    let prebake = try Prebake(folder: home)
    var specification = Machine.Specification(image: image)
    specification.isOffline = true
    let machine = try prebake.start(specification)
    try await machine.write("yes | head -c 4000000; exit 0\n")
    var bytes = 0
    for await chunk in machine.output {
        if bytes == 0 { try await Task.sleep(for: .milliseconds(300)) }
        bytes += chunk.bytes.count
    }
    check(bytes == 4_000_000, bytes)
    do {
        let unread = try prebake.start(specification)
        try await unread.write("yes\n")
        let reading = Task { for await _ in unread.output {} }
        try await Task.sleep(for: .milliseconds(300))
        reading.cancel()
        await reading.value
        _ = unread.signal(15)
    }
    // It is ended by the end of what it is told by, and not read.
    let last = try prebake.start(specification)
    try await last.write("exit 3\n")
    check(try await last.end.cause == .exited(3), "another status")
}

func failures() async throws {
    let prebake = try Prebake(folder: home)
    check(await kind { try await prebake.ensure("localhost:1/none:1") } == "registry-unreachable", "unreachable")
    let absent = await failure { try await prebake.ensure("localhost:5000/none:1", offline: true) }
    check((absent as? PrebakeError)?.reason == .notFound, absent)
    check(await kind { try await prebake.removeSession(named: "none") } == "no-session", "no-session")
    check(await kind { try await prebake.prune(forgetting: "localhost:5000/none:1") } == "not-in-store", "prune")
    let nowhere = try Prebake(folder: URL(fileURLWithPath: "/dev/null/x"))
    let place = await kind { try await nowhere.ensure(image) }
    check(place == "no-store", place)
    var wrong = shell()
    wrong.workingDirectory = "x"
    check(await kind { try prebake.start(wrong) } == "invalid", "invalid")
    let missing = Machine.Specification(snapshot: URL(fileURLWithPath: "/nonexistent.snap"))
    check(await kind { try await prebake.start(missing).end } == "missing", "missing")
}

/// What the program does that is measured: it passes on what it is told, and what it hears.
func answer() async throws -> Never {
    var specification = Machine.Specification(image: image)
    (specification.isOffline, specification.isFresh) = (true, true)
    let machine = try Prebake(folder: home).start(specification)
    let user = User(machine)
    try await machine.write(readLine()! + "\n")
    await user.waitFor("here\n")
    print("here")
    while true { pause() }
}

/// Milliseconds from the start of a process to the answer, of prebake itself, of a program with this package, and of the same program when it answers by itself,
/// in turns. They are shown and not judged, as the host may be busy.
func overhead(_ program: String) throws {
    let environment = world.merging(["PREBAKE_HOME": home.path + "/store", "PREBAKE_CACHE": home.path + "/cache"]) { $1 }
    func answered(_ program: String, _ arguments: [String]) throws -> Double {
        let child = Process()
        (child.executableURL, child.arguments, child.environment) = (URL(fileURLWithPath: program), arguments, environment)
        let (input, output) = (Pipe(), Pipe())
        (child.standardInput, child.standardOutput, child.standardError) = (input, output, FileHandle.nullDevice)
        let start = ContinuousClock.now
        try child.run()
        input.fileHandleForWriting.write(Data("echo here\n".utf8))
        check(output.fileHandleForReading.availableData == Data("here\n".utf8), "another answer")
        defer {
            kill(child.processIdentifier, SIGKILL)
            child.waitUntilExit()
        }
        return (ContinuousClock.now - start) / .milliseconds(1)
    }
    let bare = { try answered(program, ["run", "--offline", "--fresh", image]) }
    let own = { try answered("/proc/self/exe", ["answer"]) }
    let itself = { try answered("/proc/self/exe", ["echo"]) }
    let rounds = try (0..<41).map { turn in
        var took = [0.0, 0.0, 0.0]
        // Each comes first as often as the others.
        for way in (0..<3).map({ ($0 + turn) % 3 }) { took[way] = try [bare, own, itself][way]() }
        return took
    }
    func middle(_ times: [Double]) -> Double { times.sorted()[times.count / 2] }
    let (alone, here, empty) = (middle(rounds.map { $0[0] }), middle(rounds.map { $0[1] }), middle(rounds.map { $0[2] }))
    let more = middle(rounds.map { $0[1] - $0[2] - $0[0] })
    print(
        "first answer from the start of a process on: "
            + String(format: "%.1f ms by prebake, %.1f ms by a program with the package, of them %.1f ms until it is loaded; ", alone, here, empty)
            + String(format: "%+.1f ms without those in the median of %d rounds", more, rounds.count))
}

if CommandLine.arguments[1] == "work" { try await work() }
if CommandLine.arguments[1] == "answer" { try await answer() }
if CommandLine.arguments[1] == "echo" {
    print(readLine()!.dropFirst("echo ".count))
    exit(0)
}
var passed = 0
for (name, test) in [
    ("a download that is cut or cancelled goes on where it was", fetched),
    ("what was saved is there after kill -9", killed),
    ("two clones draw different numbers", clones),
    ("streams are byte-exact, and a status comes back", streams),
    ("the guest waits for who reads, and for nobody else", much),
    ("failures have kinds", failures),
] as [(String, () async throws -> Void)] {
    let start = ContinuousClock.now
    do {
        try await test()
    } catch {
        print("FAILED \(name): \(error)")
        exit(1)
    }
    print("ok \(ContinuousClock.now - start): \(name)")
    passed += 1
}
if CommandLine.arguments.count < 3 { try overhead(CommandLine.arguments[1]) }
print("\(passed) passed, 0 failed")
