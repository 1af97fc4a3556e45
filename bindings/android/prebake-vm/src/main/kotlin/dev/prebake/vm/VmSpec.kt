package dev.prebake.vm

import java.io.File

/** What a machine is to be. Everything that is left out is as `prebake run` has it. */
data class VmSpec(
    /** What to run. */
    val source: Source,
    /** The session that the machine is saved in, and that it goes on with if it was saved before. `null` lets prebake choose one for a shell of an image. */
    val session: String? = null,
    /** Saves nothing. */
    val fresh: Boolean = false,
    /** The program's terminal; without one, the program has three byte-exact streams. */
    val terminal: Terminal? = Terminal(),
    val environment: Map<String, String> = emptyMap(),
    val volumes: List<Volume> = emptyList(),
    val workdir: String? = null,
    val user: String? = null,
    val hostname: String? = null,
    val entrypoint: String? = null,
    val arguments: List<String> = emptyList(),
    val network: Network? = null,
    /** Memory in MiB, if not the image's own. */
    val memory: Int? = null,
    /** Asks no registry. */
    val offline: Boolean = false,
) {
    sealed interface Source {
        /** What a reference names. */
        data class Image(val reference: String) : Source

        /** Files: a machine, a snapshot, or both. */
        data class Files(val machine: File?, val snapshot: File?) : Source

        /** What [VmSpec.session] is of. */
        data object Session : Source
    }

    data class Terminal(val columns: Int = 80, val rows: Int = 24, val name: String = "xterm-256color")

    /** A directory or file of the host at a path in the guest. [size] bounds the bytes that the guest may add. */
    data class Volume(val host: File, val guest: String, val readOnly: Boolean = false, val size: Long? = null)

    data class Network(
        /** The guest has none. */
        val none: Boolean = false,
        val published: List<Port> = emptyList(),
        /** Resolvers in place of the app's. */
        val dns: List<String> = emptyList(),
        val names: Map<String, String> = emptyMap(),
    ) {
        /** A port of this host that leads to one of the guest; [host] 0 is any that is free. */
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
