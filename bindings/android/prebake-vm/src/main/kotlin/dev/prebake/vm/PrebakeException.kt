package dev.prebake.vm

/**
 * Thrown when prebake cannot do something. The message tells the user what was found, what was expected and what to do.
 *
 * @property kind a stable name of the problem, the same as in the output of `prebake --json`.
 */
open class PrebakeException(val kind: String, message: String, cause: Throwable? = null) : Exception(message, cause) {
    /** The registry cannot be reached or does not work, and the image was never pulled. */
    class Unreachable(kind: String, message: String) : PrebakeException(kind, message)

    /** The registry refuses access without credentials, or with these. */
    class Unauthorized(kind: String, message: String) : PrebakeException(kind, message)

    /** The image is neither in the store nor in the registry, or a file does not exist. */
    class NotFound(kind: String, message: String) : PrebakeException(kind, message)

    /** Another machine is using the session. */
    class SessionInUse(kind: String, message: String) : PrebakeException(kind, message)

    /** The machine has ended. */
    class MachineEnded(kind: String, message: String) : PrebakeException(kind, message)

    /** The disk is full. */
    class DiskFull(kind: String, message: String) : PrebakeException(kind, message)

    /** The process of prebake was killed, has crashed, or cannot be started. */
    class ProcessDied(message: String, cause: Throwable? = null) : PrebakeException("process-died", message, cause)

    internal companion object {
        fun of(kind: String, message: String): PrebakeException = when (kind) {
            "registry-unreachable", "registry-cut-off", "registry-busy", "registry-failed" -> Unreachable(kind, message)
            "registry-unauthorized", "registry-denied" -> Unauthorized(kind, message)
            "not-in-store", "not-in-registry", "missing" -> NotFound(kind, message)
            "session-in-use" -> SessionInUse(kind, message)
            "machine-ended" -> MachineEnded(kind, message)
            "disk-full" -> DiskFull(kind, message)
            else -> PrebakeException(kind, message)
        }
    }
}
