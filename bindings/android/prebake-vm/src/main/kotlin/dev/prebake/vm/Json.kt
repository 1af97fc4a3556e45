package dev.prebake.vm

/**
 * JSON as Kotlin values: `Map<String, Any?>`, `List<Any?>`, `String`, `Long`, `Double`, `Boolean` and `null`. As much of it as the protocol needs, so
 * that the library needs no other.
 */
internal object Json {
    fun write(value: Any?): String = StringBuilder().also { write(value, it) }.toString()

    private fun write(value: Any?, out: StringBuilder) {
        when (value) {
            null -> out.append("null")
            is Boolean, is Int, is Long, is Double -> out.append(value)
            is String -> quote(value, out)
            is Map<*, *> -> {
                var separator = '{'
                for ((key, element) in value) {
                    out.append(separator)
                    quote(key as String, out)
                    out.append(':')
                    write(element, out)
                    separator = ','
                }
                out.append(if (separator == '{') "{}" else "}")
            }
            is Iterable<*> -> {
                var separator = '['
                for (element in value) {
                    out.append(separator)
                    write(element, out)
                    separator = ','
                }
                out.append(if (separator == '[') "[]" else "]")
            }
            else -> throw IllegalArgumentException("JSON has no ${value::class}")
        }
    }

    private fun quote(text: String, out: StringBuilder) {
        out.append('"')
        for (c in text) {
            when {
                c == '"' || c == '\\' -> out.append('\\').append(c)
                c < ' ' || c.isSurrogate() -> out.append("\\u").append(c.code.toString(16).padStart(4, '0'))
                else -> out.append(c)
            }
        }
        out.append('"')
    }

    /** @throws IllegalArgumentException if [text] is not JSON, or nested deeper than 64 levels. */
    fun read(text: String): Any? = Reader(text).run {
        val value = value(0)
        blanks()
        require(at == text.length) { "more than one JSON value, at $at" }
        value
    }

    private class Reader(val text: String) {
        var at = 0

        fun blanks() {
            while (at < text.length && text[at] in " \t\r\n") at++
        }

        fun value(depth: Int): Any? {
            require(depth < 64) { "JSON is nested too deeply" }
            blanks()
            return when (val c = peek()) {
                '{' -> members(depth)
                '[' -> elements(depth)
                '"' -> string()
                't' -> word("true", true)
                'f' -> word("false", false)
                'n' -> word("null", null)
                else -> if (c == '-' || c in '0'..'9') number() else bad()
            }
        }

        fun peek(): Char = if (at < text.length) text[at] else bad()

        fun bad(): Nothing = throw IllegalArgumentException("not JSON at $at")

        fun take(c: Char) {
            if (peek() != c) bad()
            at++
        }

        fun <T> word(word: String, value: T): T {
            if (!text.startsWith(word, at)) bad()
            at += word.length
            return value
        }

        fun members(depth: Int): Map<String, Any?> {
            val members = LinkedHashMap<String, Any?>()
            take('{')
            blanks()
            if (peek() == '}') return members.also { at++ }
            while (true) {
                blanks()
                val name = string()
                blanks()
                take(':')
                members[name] = value(depth + 1)
                blanks()
                if (peek() == '}') return members.also { at++ }
                take(',')
            }
        }

        fun elements(depth: Int): List<Any?> {
            val elements = ArrayList<Any?>()
            take('[')
            blanks()
            if (peek() == ']') return elements.also { at++ }
            while (true) {
                elements += value(depth + 1)
                blanks()
                if (peek() == ']') return elements.also { at++ }
                take(',')
            }
        }

        fun string(): String {
            take('"')
            val out = StringBuilder()
            while (true) {
                val c = peek()
                at++
                when {
                    c == '"' -> return out.toString()
                    c == '\\' -> out.append(escaped())
                    c < ' ' -> bad()
                    else -> out.append(c)
                }
            }
        }

        fun escaped(): Char {
            val c = peek()
            at++
            return when (c) {
                '"', '\\', '/' -> c
                'b' -> '\b'
                'f' -> '\u000c'
                'n' -> '\n'
                'r' -> '\r'
                't' -> '\t'
                'u' -> {
                    if (at + 4 > text.length) bad()
                    val code = text.substring(at, at + 4).toIntOrNull(16) ?: bad()
                    at += 4
                    code.toChar()
                }
                else -> bad()
            }
        }

        fun number(): Any {
            val start = at
            while (at < text.length && (text[at] in '0'..'9' || text[at] in "+-.eE")) at++
            val number = text.substring(start, at)
            return number.toLongOrNull() ?: number.toDoubleOrNull() ?: bad()
        }
    }
}

internal fun Any?.obj(): Map<*, *> = this as? Map<*, *> ?: emptyMap<String, Any?>()
internal fun Map<*, *>.text(name: String): String? = this[name] as? String
internal fun Map<*, *>.long(name: String): Long? = (this[name] as? Number)?.toLong()
internal fun Map<*, *>.double(name: String): Double? = (this[name] as? Number)?.toDouble()
internal fun Map<*, *>.list(name: String): List<*> = this[name] as? List<*> ?: emptyList<Any?>()
