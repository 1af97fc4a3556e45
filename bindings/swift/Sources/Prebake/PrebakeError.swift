import CPrebake

/// An error of prebake. Calls that are cancelled throw `CancellationError` instead.
public struct PrebakeError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The reasons that programs usually tell apart.
    public enum Reason: Sendable {
        /// The registry cannot be reached or does not work, and the image was never pulled.
        case unreachable
        /// The registry refuses access without credentials, or with these.
        case unauthorized
        /// The image is neither in the store nor in the registry, or a file does not exist.
        case notFound
        /// Another machine is using the session.
        case sessionInUse
        /// The machine has ended.
        case machineEnded
        /// The disk is full.
        case diskFull
        /// Another reason; see ``PrebakeError/kind``.
        case other
    }

    /// A stable name of the problem, the same as in the output of `prebake --json`.
    public let kind: String
    /// A message for the user: what was found, what was expected, and what to do.
    public let description: String

    /// The reason, for programs to decide by.
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
