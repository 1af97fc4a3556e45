import CPrebake

/// Why prebake could not do something. What was cancelled throws a `CancellationError` instead.
public struct PrebakeError: Error, Sendable, Equatable, CustomStringConvertible {
    /// What programs decide by.
    public enum Reason: Sendable {
        /// The registry cannot be reached or does not work, and nothing was pulled before.
        case unreachable
        /// The registry wants to know who asks.
        case unauthorized
        /// The image is neither in the store nor in the registry, or there is no such file.
        case notFound
        /// The session is held by another machine.
        case sessionInUse
        /// The machine has ended.
        case machineEnded
        /// There is no room left.
        case diskFull
        /// Something else: see ``PrebakeError/kind``.
        case other
    }

    /// A stable name of what went wrong.
    public let kind: String
    /// What was found, what was wanted, and what to do, for a person.
    public let description: String

    public var reason: Reason {
        switch kind {
        case "registry-unreachable", "registry-cut-off", "registry-busy", "registry-failed": .unreachable
        case "registry-unauthorized", "registry-denied": .unauthorized
        case "not-in-store", "not-in-registry", "missing": .notFound
        case "session-in-use": .sessionInUse
        case "machine-ended": .machineEnded
        case "disk-full": .diskFull
        default: .other
        }
    }

    init(_ error: OpaquePointer) {
        kind = String(cString: prebake_error_kind(error))
        description = String(cString: prebake_error_message(error))
    }

    /// Calls a function of the library that writes an error.
    static func check<Result>(_ call: (UnsafeMutablePointer<OpaquePointer?>) -> Result) throws -> Result {
        var failure: OpaquePointer?
        let result = call(&failure)
        guard let failure else { return result }
        defer { prebake_error_free(failure) }
        let error = PrebakeError(failure)
        throw error.kind == "cancelled" ? CancellationError() as any Error : error
    }
}
