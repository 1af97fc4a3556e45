import Foundation

/// What a machine writes, as it comes, until it has ended. It is for one loop.
///
/// While more than a megabyte waits to be taken, the guest waits.
public struct Output: AsyncSequence, Sendable {
    /// What was written at once, or nearly.
    public struct Chunk: Sendable, Hashable, CustomStringConvertible {
        public enum Stream: Int32, Sendable {
            /// Standard output, or the terminal.
            case output = 1
            /// Standard error, and what the kernel says.
            case error = 2
        }

        public let stream: Stream
        public let bytes: Data

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
