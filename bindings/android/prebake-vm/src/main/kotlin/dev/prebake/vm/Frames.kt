package dev.prebake.vm

import java.io.DataInputStream
import java.io.DataOutputStream
import java.io.EOFException
import java.io.IOException

/** Frames of the protocol of `prebake serve`. */
internal sealed interface Frame {
    class Message(val text: String) : Frame

    class Bytes(val machine: Long, val stream: Int, val bytes: ByteArray) : Frame
}

/** More than any list of what is in a store: what says that it is longer is no frame. */
private const val MAX_FRAME = 16 shl 20

/** The next frame, or `null` at the end of the stream. */
internal fun DataInputStream.readFrame(): Frame? {
    val length = try {
        readInt()
    } catch (_: EOFException) {
        return null
    }
    if (length !in 1..MAX_FRAME) throw IOException("a frame of $length bytes")
    val type = readUnsignedByte()
    return when (type) {
        0 -> Frame.Message(String(body(length - 1), Charsets.UTF_8))
        1 -> {
            if (length < 6) throw IOException("a frame of bytes without its machine")
            val machine = readInt().toLong() and 0xffffffffL
            Frame.Bytes(machine, readUnsignedByte(), body(length - 6))
        }
        else -> throw IOException("a frame of type $type")
    }
}

private fun DataInputStream.body(length: Int) = ByteArray(length).also { readFully(it) }

internal fun DataOutputStream.writeMessage(text: String) {
    val bytes = text.toByteArray(Charsets.UTF_8)
    writeInt(1 + bytes.size)
    writeByte(0)
    write(bytes)
    flush()
}

internal fun DataOutputStream.writeBytes(machine: Long, bytes: ByteArray, offset: Int, length: Int) {
    writeInt(6 + length)
    writeByte(1)
    writeInt(machine.toInt())
    writeByte(0)
    write(bytes, offset, length)
    flush()
}
