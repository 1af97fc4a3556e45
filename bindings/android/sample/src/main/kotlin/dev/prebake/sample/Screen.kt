package dev.prebake.sample

/** The text of a terminal: lines, carriage returns, backspaces; escape sequences are left out. */
class Screen {
    private val text = StringBuilder()
    /** Where the last line begins. */
    private var line = 0
    private var column = 0
    private var escape = Escape.None

    private enum class Escape { None, Begun, Sequence, Title }

    /** The text once [bytes] were written. */
    fun take(bytes: ByteArray): String {
        String(bytes).forEach(::put)
        val left = text.length - LONGEST
        if (left > 0) {
            text.delete(0, left)
            column = (column - (left - line).coerceAtLeast(0)).coerceAtLeast(0)
            line = (line - left).coerceAtLeast(0)
        }
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
                line = text.length
                column = 0
            }
            '\r' -> column = 0
            '\b' -> if (column > 0) column--
            '\u0007' -> {}
            else -> {
                if (line + column < text.length) text.setCharAt(line + column, c) else text.append(c)
                column++
            }
        }
    }

    private companion object {
        const val LONGEST = 64 shl 10
    }
}
