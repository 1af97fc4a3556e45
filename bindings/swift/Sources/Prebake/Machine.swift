import CPrebake
import Foundation

/// A running machine. ``Prebake/start(_:)`` starts one.
///
/// When the last reference to this object goes away, the machine is saved if it is in a session, and ends.
public final class Machine: @unchecked Sendable {
    private let handle: OpaquePointer
    private let ears: Ears
    /// Writes wait for one another, in order.
    private let writing = DispatchQueue(label: "dev.prebake.write")

    /// Everything the guest writes, until the machine ends.
    ///
    /// Iterate over it in one loop, and keep iterating: the guest is suspended while too much output is waiting.
    public var output: Output { ears.output }

    /// The progress of fetching and booting. The stream ends with the machine, and buffers the newest element only.
    public var progress: AsyncStream<Prebake.Progress> { ears.progress.stream }

    /// The end of a machine.
    public struct End: Sendable, Hashable {
        /// Why a machine ended.
        public enum Cause: Sendable, Hashable {
            /// The guest's program exited with this status.
            case exited(Int32)
            /// The machine was stopped.
            case stopped
            /// This signal ended the machine.
            case signalled(Int32)
        }

        /// Why the machine ended.
        public let cause: Cause
        /// The state that was saved at the end, or `nil` if the machine is in no session.
        public let saved: Checkpoint?
        /// The number of instructions that the guest executed.
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

    /// A saved state of a session.
    public struct Checkpoint: Sendable, Hashable {
        /// The session's name.
        public let session: String
        /// The number of pages of memory and disk that were saved.
        public let pages: UInt64
        /// The size of these pages on the disk.
        public let bytes: UInt64
        /// How long saving took.
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

    /// Sends bytes to the guest's standard input, and returns once the machine has taken them.
    ///
    /// - Throws: ``PrebakeError`` if the machine has ended.
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

    /// Sends text in UTF-8 to the guest's standard input, and returns once the machine has taken it.
    public func write(_ text: String) async throws { try await write(Data(text.utf8)) }

    /// Closes the guest's standard input, once everything written before has been sent.
    ///
    /// A machine with a terminal is saved and ends, as if its user had closed the window.
    public func closeInput() { writing.async { prebake_vm_close_input(self.handle) } }

    /// Changes the size of the terminal.
    public func resize(columns: UInt16, rows: UInt16) { prebake_vm_resize(handle, columns, rows) }

    /// Sends a signal, for example `SIGTERM`, to the guest's program.
    ///
    /// - Returns: Whether there is a signal with this number.
    @discardableResult
    public func signal(_ number: Int32) -> Bool { prebake_vm_signal(handle, number) }

    /// Saves the machine's state in its session while the machine keeps running, and returns once the state is on the disk.
    @discardableResult
    public func checkpoint() async throws -> Checkpoint {
        try await blocking {
            var saved = prebake_saved()
            _ = try PrebakeError.check { prebake_vm_checkpoint(self.handle, &saved, $0) }
            return Checkpoint(saved)
        }
    }

    /// Ends the machine, after saving its state if it is in a session.
    ///
    /// If the state cannot be saved, this throws and the machine keeps running. Stopping it a second time ends it without saving.
    @discardableResult
    public func stop() async throws -> End {
        try await ears.end(orNotSaved: true) { prebake_vm_stop(self.handle) }
    }

    /// The end of the machine, once it has ended. Throws ``PrebakeError`` if the machine could not be started, or failed.
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
