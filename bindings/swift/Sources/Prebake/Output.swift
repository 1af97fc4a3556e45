import Foundation

/// The output of a machine, as an asynchronous sequence for one loop. It ends with the machine.
///
/// While more than a megabyte is waiting, the guest is suspended.
public struct Output: AsyncSequence, Sendable {
    /// A piece of output.
    public struct Chunk: Sendable, Hashable, CustomStringConvertible {
        /// A stream of the guest's program.
        public enum Stream: Int32, Sendable {
            /// Standard output. With a terminal, all output of the program.
            case output = 1
            /// Standard error, and messages of the guest's kernel.
            case error = 2
        }

        /// The stream that it was written to.
        public let stream: Stream
        /// What was written.
        public let bytes: Data

        /// The bytes as UTF-8. A character may be split between two pieces.
        public var description: String { String(decoding: bytes, as: UTF8.self) }
    }

    public typealias Element = Chunk

    let queue = Queue()

    public struct AsyncIterator: AsyncIteratorProtocol {
        let queue: Queue

        public mutating func next() async -> Chunk? { await queue.next() }
    }

    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(queue: queue) }

    /// Between the thread that the machine writes on and the task that reads.
    final class Queue: @unchecked Sendable {
        private static let most = 1 << 20

        private let condition = NSCondition()
        private var chunks: [Chunk] = []
        private var bytes = 0
        private var hasEnded = false
        private var isUnwanted = false
        private var waiting: CheckedContinuation<Chunk?, Never>?

        /// Waits while too much was not taken.
        func put(_ chunk: Chunk) {
            condition.lock()
            defer { condition.unlock() }
            while bytes > Self.most, !isUnwanted { condition.wait() }
            if isUnwanted { return }
            if let reader = waiting {
                waiting = nil
                reader.resume(returning: chunk)
            } else {
                chunks.append(chunk)
                bytes += chunk.bytes.count
            }
        }

        /// Nothing comes any more.
        func end() {
            condition.withLock {
                hasEnded = true
                waiting?.resume(returning: nil)
                waiting = nil
            }
        }

        /// Nobody reads any more: the machine need not wait.
        func letGo() {
            condition.withLock {
                isUnwanted = true
                chunks = []
                waiting?.resume(returning: nil)
                waiting = nil
                condition.broadcast()
            }
        }

        func next() async -> Chunk? {
            await withTaskCancellationHandler {
                await withCheckedContinuation { continuation in
                    condition.withLock {
                        if let chunk = chunks.first {
                            chunks.removeFirst()
                            bytes -= chunk.bytes.count
                            condition.signal()
                            continuation.resume(returning: chunk)
                        } else if hasEnded || isUnwanted || Task.isCancelled {
                            continuation.resume(returning: nil)
                        } else {
                            // A loop that asks while another does takes its place.
                            waiting?.resume(returning: nil)
                            waiting = continuation
                        }
                    }
                }
            } onCancel: {
                condition.withLock {
                    waiting?.resume(returning: nil)
                    waiting = nil
                }
            }
        }
    }
}
