package dev.prebake.vm

import java.io.File

/**
 * Describes a machine to start. Defaults are those of `prebake run`.
 *
 * @property source what to run.
 * @property session the session that the machine is saved in. If it was saved before, the machine resumes there. With `null`, an image on a terminal gets a
 * session of its own.
 * @property fresh starts without a session: nothing is saved.
 * @property terminal the program's terminal. With `null` the program has byte-exact standard streams instead.
 * @property environment environment variables of the program.
 * @property volumes directories and files of the host.
 * @property workdir the program's working directory, as an absolute path in the guest.
 * @property user the user that the program runs as.
 * @property hostname the guest's host name.
 * @property entrypoint replaces the image's entrypoint.
 * @property arguments replace the image's arguments.
 * @property network the guest's network. With `null` the guest can connect to other hosts, but not to this one.
 * @property memory the guest's memory in MiB, if not the image's own.
 * @property offline uses the store alone, without asking the registry.
 */
data class VmSpec(
    val source: Source,
    val session: String? = null,
    val fresh: Boolean = false,
    val terminal: Terminal? = Terminal(),
    val environment: Map<String, String> = emptyMap(),
    val volumes: List<Volume> = emptyList(),
    val workdir: String? = null,
    val user: String? = null,
    val hostname: String? = null,
    val entrypoint: String? = null,
    val arguments: List<String> = emptyList(),
    val network: Network? = null,
    val memory: Int? = null,
    val offline: Boolean = false,
) {
    /** What a machine is made from. */
    sealed interface Source {
        /** The image with this reference. */
        data class Image(val reference: String) : Source

        /** A machine's file, a snapshot, or both. */
        data class Files(val machine: File?, val snapshot: File?) : Source

        /** Whatever [VmSpec.session] was started from. */
        data object Session : Source
    }

    /** A terminal. [name] is the value of `TERM`. */
    data class Terminal(val columns: Int = 80, val rows: Int = 24, val name: String = "xterm-256color")

    /**
     * Makes a directory or file of the host available in the guest.
     *
     * @property guest an absolute path.
     * @property size how many bytes the guest may add at most, or `null` for no limit.
     */
    data class Volume(val host: File, val guest: String, val readOnly: Boolean = false, val size: Long? = null)

    /**
     * The network of a guest.
     *
     * @property none leaves the guest without a network.
     * @property published ports of this host that are forwarded to the guest.
     * @property dns addresses of name servers to use instead of the app's resolver.
     * @property names host names for the guest, with their IPv4 addresses.
     */
    data class Network(
        val none: Boolean = false,
        val published: List<Port> = emptyList(),
        val dns: List<String> = emptyList(),
        val names: Map<String, String> = emptyMap(),
    ) {
        /** Forwards the port [host] of [address] to the port [guest]. With 0 for [host], any free port is used. */
        data class Port(val host: Int, val guest: Int, val udp: Boolean = false, val address: String = "127.0.0.1")
    }

    internal fun json(seed: ByteArray): Map<String, Any?> = buildMap {
        when (val source = source) {
            is Source.Image -> put("image", source.reference)
            is Source.Files -> {
                source.machine?.let { put("machine", it.path) }
                source.snapshot?.let { put("snapshot", it.path) }
            }
            Source.Session -> {}
        }
        session?.let { put("session", it) }
        if (fresh) put("fresh", true)
        terminal?.let { put("terminal", mapOf("columns" to it.columns, "rows" to it.rows, "name" to it.name)) }
        if (environment.isNotEmpty()) put("environment", environment)
        if (volumes.isNotEmpty()) put("volumes", volumes.map { it.json() })
        workdir?.let { put("workdir", it) }
        user?.let { put("user", it) }
        hostname?.let { put("hostname", it) }
        entrypoint?.let { put("entrypoint", it) }
        if (arguments.isNotEmpty()) put("arguments", arguments)
        network?.let { put("network", it.json()) }
        memory?.let { put("memory", it) }
        if (offline) put("offline", true)
        put("seed", seed.joinToString("") { (it.toInt() and 0xff).toString(16).padStart(2, '0') })
    }
}

private fun VmSpec.Volume.json(): Map<String, Any?> = mapOf("host" to host.path, "guest" to guest, "read_only" to readOnly, "size" to size)

private fun VmSpec.Network.json(): Map<String, Any?> =
    if (none) {
        mapOf("none" to true)
    } else {
        mapOf(
            "published" to published.map { mapOf("host" to it.host, "guest" to it.guest, "udp" to it.udp, "address" to it.address) },
            "dns" to dns,
            "names" to names,
        )
    }
