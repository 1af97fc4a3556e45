import CPrebake
import Foundation

/// A machine that runs. When nobody has it any more, it is saved if it is in a session, and ends.
public final class Machine: @unchecked Sendable {
    private let handle: OpaquePointer
    private let ears: Ears
    /// Writes wait for one another, in order.
    private let writing = DispatchQueue(label: "dev.prebake.write")

    /// What the machine writes, until it has ended. It is for one loop, which must take what comes: the guest waits for it.
    public var output: Output { ears.output }

    /// How far the machine has come with what it has to fetch or to boot; it ends with the machine. Only the newest waits to be taken.
    public var progress: AsyncStream<Prebake.Progress> { ears.progress.stream }

    /// How the machine ended.
    public struct End: Sendable, Hashable {
        public enum Cause: Sendable, Hashable {
            /// Its program has ended, with a status.
            case exited(Int32)
            /// It was stopped.
            case stopped
            /// A signal ended it.
            case signalled(Int32)
        }

        public let cause: Cause
        /// What was saved at its end, if it is in a session.
        public let saved: Checkpoint?
        /// Instructions that the guest executed.
        public let guestInstructions: UInt64

        init(_ ended: prebake_ended) {
            cause =
                switch ended.ending {
                case PREBAKE_ENDING_EXITED: .exited(ended.status)
                case PREBAKE_ENDING_STOPPED: .stopped
                default: .signalled(ended.status)
                }
            saved = ended.saved.map { Checkpoint($0.pointee) }
            guestInstructions = ended.guest_instructions
        }
    }

    /// What was saved of a machine.
    public struct Checkpoint: Sendable, Hashable {
        public let session: String
        public let pages: UInt64
        public let bytes: UInt64
        public let duration: Duration

        init(_ saved: prebake_saved) {
            var saved = saved
            let length = MemoryLayout.size(ofValue: saved.session)
            session = withUnsafePointer(to: &saved.session) {
                $0.withMemoryRebound(to: CChar.self, capacity: length) { String(cString: $0) }
            }
            pages = saved.pages
            bytes = saved.bytes
            duration = .microseconds(Int64(saved.milliseconds * 1000))
        }
    }

    init(_ prebake: Prebake, _ specification: Specification) throws {
        let ears = Ears()
        let json = String(decoding: try JSONEncoder().encode(specification), as: UTF8.self)
        // The library has the ears until it has told the end.
        let held = Unmanaged.passRetained(ears)
        var listener = prebake_listener(
            user: held.toOpaque(),
            on_output: { user, stream, bytes, length in
                let stream = Output.Chunk.Stream(rawValue: stream) ?? .error
                Ears.at(user!).output.queue.put(.init(stream: stream, bytes: Data(bytes: bytes!, count: length)))
            },
            on_progress: { Ears.at($0!).progress.continuation.yield(Prebake.Progress($1!.pointee)) },
            on_not_saved: { Ears.at($0!).notSaved(PrebakeError($1!)) },
            on_end: { user, ended in
                Ears.at(user!).hasEnded(ended!.pointee)
                Unmanaged<Ears>.fromOpaque(user!).release()
            })
        do {
            handle = try PrebakeError.check { prebake_vm_start(prebake.handle, json, &listener, $0) }!
        } catch {
            held.release()
            throw error
        }
        self.ears = ears
    }

    deinit {
        ears.output.queue.letGo()
        // It waits until the machine is saved.
        nonisolated(unsafe) let handle = handle
        DispatchQueue.global().async { prebake_vm_free(handle) }
    }

    /// Gives the machine something to read, and waits until it has taken it.
    public func write(_ bytes: Data) async throws {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            writing.async {
                let written = Result {
                    _ = try bytes.withUnsafeBytes { bytes in
                        try PrebakeError.check { prebake_vm_write(self.handle, bytes.baseAddress, bytes.count, $0) }
                    }
                }
                continuation.resume(with: written)
            }
        }
    }

    /// The same with a text.
    public func write(_ text: String) async throws { try await write(Data(text.utf8)) }

    /// Sends the end of what the machine reads, after what was written before. To a machine with a terminal it means that its user has gone: it is saved and ends.
    public func closeInput() { writing.async { prebake_vm_close_input(self.handle) } }

    /// Tells the machine the size of its terminal.
    public func resize(columns: UInt16, rows: UInt16) { prebake_vm_resize(handle, columns, rows) }

    /// Sends a signal to the machine's program, for example `SIGTERM`. Returns whether there is such a signal.
    @discardableResult
    public func signal(_ number: Int32) -> Bool { prebake_vm_signal(handle, number) }

    /// Saves what the guest has done in its session, and returns once that is on the disk. The machine runs on.
    @discardableResult
    public func checkpoint() async throws -> Checkpoint {
        try await blocking {
            var saved = prebake_saved()
            _ = try PrebakeError.check { prebake_vm_checkpoint(self.handle, &saved, $0) }
            return Checkpoint(saved)
        }
    }

    /// Saves the machine if it is in a session, ends it, and returns how it ended. If it cannot be saved, this throws and the machine runs on, until it is stopped
    /// again.
    @discardableResult
    public func stop() async throws -> End {
        try await ears.end(orNotSaved: true) { prebake_vm_stop(self.handle) }
    }

    /// Waits until the machine has ended by itself. Throws why if prebake could not run it.
    public var end: End {
        get async throws { try await ears.end(orNotSaved: false) {} }
    }
}

/// What a machine is heard by. It outlives the machine's object until the end is told.
private final class Ears: @unchecked Sendable {
    let output = Output()
    let progress = AsyncStream.makeStream(of: Prebake.Progress.self, bufferingPolicy: .bufferingNewest(1))
    private let lock = NSLock()
    private var ended: Result<Machine.End, any Error>?
    private var waiting: [(wantsNotSaved: Bool, continuation: CheckedContinuation<Machine.End, any Error>)] = []

    static func at(_ address: UnsafeMutableRawPointer) -> Ears { Unmanaged.fromOpaque(address).takeUnretainedValue() }

    func hasEnded(_ ended: prebake_ended) {
        let result: Result<Machine.End, any Error> =
            if let error = ended.error {
                .failure(PrebakeError(error))
            } else {
                .success(Machine.End(ended))
            }
        output.queue.end()
        progress.continuation.finish()
        let heard = lock.withLock {
            self.ended = result
            defer { waiting = [] }
            return waiting
        }
        heard.forEach { $0.continuation.resume(with: result) }
    }

    func notSaved(_ error: PrebakeError) {
        let heard = lock.withLock {
            defer { waiting.removeAll(where: \.wantsNotSaved) }
            return waiting.filter(\.wantsNotSaved)
        }
        heard.forEach { $0.continuation.resume(throwing: error) }
    }

    /// Waits for the end, or for what becomes of an attempt to save it that `begin` begins.
    func end(orNotSaved wantsNotSaved: Bool, begin: () -> Void) async throws -> Machine.End {
        try await withCheckedThrowingContinuation { continuation in
            let known = lock.withLock {
                if ended == nil { waiting.append((wantsNotSaved, continuation)) }
                return ended
            }
            begin()
            if let known { continuation.resume(with: known) }
        }
    }
}
