package dev.prebake.vm

/**
 * Why prebake could not do something.
 *
 * @property kind a stable name, the same that `prebake --json` has.
 */
open class PrebakeException(val kind: String, message: String, cause: Throwable? = null) : Exception(message, cause) {
    /** The registry cannot be reached or does not work, and nothing was pulled before. */
    class Unreachable(kind: String, message: String) : PrebakeException(kind, message)

    /** The registry wants to know who asks. */
    class Unauthorized(kind: String, message: String) : PrebakeException(kind, message)

    /** The image is not in the store, and no registry was to be asked; or the registry does not have it. */
    class NotFound(kind: String, message: String) : PrebakeException(kind, message)

    /** The session is held by another machine. */
    class SessionInUse(kind: String, message: String) : PrebakeException(kind, message)

    /** The machine has ended. */
    class MachineEnded(kind: String, message: String) : PrebakeException(kind, message)

    /** There is no room left. */
    class DiskFull(kind: String, message: String) : PrebakeException(kind, message)

    /** The process has ended: it was killed, has crashed, or cannot be started. */
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
