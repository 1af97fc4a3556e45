import CPrebake
import Foundation

/// A value that C has the address of.
final class Box<Value>: @unchecked Sendable {
    var value: Value

    init(_ value: Value) { self.value = value }

    /// Valid while the box is there.
    var address: UnsafeMutableRawPointer { Unmanaged.passUnretained(self).toOpaque() }

    static func at(_ address: UnsafeMutableRawPointer) -> Box { Unmanaged.fromOpaque(address).takeUnretainedValue() }
}

/// Gives up what is being done with it.
final class CancelToken: @unchecked Sendable {
    let handle = prebake_cancel_new()!

    func cancel() { prebake_cancel_now(handle) }

    deinit { prebake_cancel_free(handle) }
}

/// Waits for a call of the library on a thread that may wait. Swift's own may not: there are few of them.
func blocking<Value: Sendable>(_ work: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        DispatchQueue.global().async { continuation.resume(with: Result(catching: work)) }
    }
}

extension Optional<String> {
    func withText<Result>(_ work: (UnsafePointer<CChar>?) throws -> Result) rethrows -> Result {
        guard let self else { return try work(nil) }
        return try self.withCString(work)
    }
}

extension Optional<URL> {
    func withPath<Result>(_ work: (UnsafePointer<CChar>?) throws -> Result) rethrows -> Result {
        try (self?.path).withText(work)
    }
}
