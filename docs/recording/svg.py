"""Draws a recording as one SVG that plays in a page's <img>, without scripts."""

from html import escape

# Pixels.
WIDTH, HEIGHT, SIZE, PADDING = 8.43, 20, 14, 18
# Milliseconds that the last screen stays before the recording starts again.
REST = 5000

STYLE = """
text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono","Liberation Mono",monospace;white-space:pre;fill:#1f2328}
.frame{fill:#f6f8fa;stroke:#d1d9e0}
.cursor{fill:#1f2328;opacity:.55}
.bold{font-weight:bold}
.red{fill:#cf222e}.green{fill:#1a7f37}.yellow{fill:#9a6700}.blue{fill:#0969da}.magenta{fill:#8250df}.cyan{fill:#1b7c83}
@media (prefers-color-scheme:dark){
text{fill:#d1d7e0}
.frame{fill:#151b23;stroke:#3d444d}
.cursor{fill:#d1d7e0}
.red{fill:#ff7b72}.green{fill:#3fb950}.yellow{fill:#d29922}.blue{fill:#58a6ff}.magenta{fill:#bc8cff}.cyan{fill:#39c5cf}
}
.past{visibility:hidden}
g{animation-duration:%(seconds).2fs;animation-timing-function:step-end;animation-iteration-count:infinite}
@media (prefers-reduced-motion:reduce){g{animation-name:none!important}}
"""


def draw(frames, columns, rows, title):
    """The SVG's text. `frames` are (milliseconds, rows of runs, cursor), in order; a picture that does not move shows the last one."""
    length = frames[-1][0] + REST
    percent = lambda time: f"{100 * time / length:.3f}".rstrip("0").rstrip(".") + "%"
    keyframes, body = [], []
    for start, end, row, runs in _stretches(frames, rows):
        name = f"t{len(keyframes)}"
        shown = [(0, "hidden")] if start else []
        shown.append((start, "visible"))
        if end is not None:
            shown.append((end, "hidden"))
        keyframes.append(f"@keyframes {name}{{" + "".join(f"{percent(time)}{{visibility:{value}}}" for time, value in shown) + "}")
        past = "" if end is None else ' class="past"'
        texts = "".join(_text(row, *run) for run in runs)
        body.append(f'<g{past} style="animation-name:{name}">{texts}</g>')
    keyframes.append("@keyframes cursor{" + "".join(f"{percent(time)}{{{place}}}" for time, place in _cursor(frames)) + "}")
    last = _cursor(frames)[-1][1]
    body.append(f'<g style="animation-name:cursor;{last}"><rect class="cursor" width="{WIDTH}" height="{HEIGHT - 2}"/></g>')
    width, height = columns * WIDTH + 2 * PADDING, rows * HEIGHT + 2 * PADDING
    style = STYLE % {"seconds": length / 1000} + "\n".join(keyframes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}" role="img">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n"
        f'<rect class="frame" x=".5" y=".5" width="{width - 1:.0f}" height="{height - 1}" rx="8"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def _stretches(frames, rows):
    """For each row the (start, end, row, runs) during which it shows the same; the end of what shows to the last is None."""
    for row in range(rows):
        start, shown = 0, ()
        for time, lines, _ in frames:
            if lines[row] != shown:
                if shown:
                    yield start, time, row, shown
                start, shown = time, lines[row]
        if shown:
            yield start, None, row, shown


def _cursor(frames):
    places = []
    for time, _, cursor in frames:
        row, column = cursor or (0, 0)
        place = f"transform:translate({PADDING + column * WIDTH:.1f}px,{PADDING + row * HEIGHT}px);visibility:{'visible' if cursor else 'hidden'}"
        if not places or places[-1][1] != place:
            places.append((time, place))
    return [(0, places[0][1])] + places[1:]


def _text(row, column, text, style):
    # The length puts every font on the same grid.
    kind = f' class="{style}"' if style else ""
    return (
        f'<text{kind} x="{PADDING + column * WIDTH:.1f}" y="{PADDING + row * HEIGHT + SIZE}" textLength="{len(text) * WIDTH:.1f}"'
        f' xml:space="preserve">{escape(text)}</text>'
    )
