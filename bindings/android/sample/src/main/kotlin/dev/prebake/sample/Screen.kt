package dev.prebake.sample

/** The text of a terminal: lines, carriage returns, backspaces; escape sequences are left out. */
class Screen {
    private val text = StringBuilder()
    private var column = 0
    private var escape = Escape.None

    private enum class Escape { None, Begun, Sequence, Title }

    /** The text once [bytes] were written. */
    fun take(bytes: ByteArray): String {
        String(bytes).forEach(::put)
        if (text.length > LONGEST) text.delete(0, text.length - LONGEST)
        return text.toString()
    }

    private fun put(c: Char) {
        when (escape) {
            Escape.None -> plain(c)
            Escape.Begun -> escape = when (c) {
                '[' -> Escape.Sequence
                ']' -> Escape.Title
                else -> Escape.None
            }
            Escape.Sequence -> if (c in '@'..'~') escape = Escape.None
            Escape.Title -> if (c == '\u0007' || c == '\u001b') escape = Escape.None
        }
    }

    private fun plain(c: Char) {
        when (c) {
            '\u001b' -> escape = Escape.Begun
            '\n' -> {
                text.append(c)
                column = 0
            }
            '\r' -> column = 0
            '\b' -> if (column > 0) column--
            '\u0007' -> {}
            else -> {
                val start = text.lastIndexOf("\n") + 1
                if (start + column < text.length) text.setCharAt(start + column, c) else text.append(c)
                column++
            }
        }
    }

    private companion object {
        const val LONGEST = 64 shl 10
    }
}
