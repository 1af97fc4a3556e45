"""A terminal that keeps what its screen shows: as much of a VT100 as shells and progress bars use."""

import re

SEQUENCE = re.compile(r"\x1b\[([?>=]?)([\d;]*)([@-~])")
COLOURS = "black red green yellow blue magenta cyan white".split()


class Terminal:
    """Lines of (character, class) cells. Raises ValueError on a control sequence that it does not know, so that no recording is silently wrong."""

    def __init__(self, columns, rows):
        self.columns, self.rows = columns, rows
        self.lines = [self._blank() for _ in range(rows)]
        self.row = self.column = 0
        self.cursor_shown = True
        self.colour = self.weight = ""
        self.rest = ""

    def _blank(self):
        return [(" ", "")] * self.columns

    def feed(self, text):
        """Takes output, and returns the bytes that a terminal answers."""
        text, answer, at = self.rest + text, "", 0
        self.rest = ""
        while at < len(text):
            if text[at] != "\x1b":
                self._character(text[at])
                at += 1
                continue
            found = SEQUENCE.match(text, at)
            if found:
                answer += self._sequence(*found.groups())
                at = found.end()
            elif re.fullmatch(r"\x1b(\[[?>=]?[\d;]*)?", text[at:]):
                self.rest = text[at:]
                break
            else:
                raise ValueError(f"unknown control sequence: {text[at:at + 12]!r}")
        return answer

    def _character(self, character):
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self._line_feed()
        elif character == "\b":
            self.column = max(self.column - 1, 0)
        elif character == "\t":
            self.column = min(self.column // 8 * 8 + 8, self.columns - 1)
        elif character >= " ":
            if self.column == self.columns:
                self.column = 0
                self._line_feed()
            self.lines[self.row][self.column] = (character, f"{self.colour} {self.weight}".strip())
            self.column += 1
        elif character != "\a":
            raise ValueError(f"unknown control character: {character!r}")

    def _line_feed(self):
        if self.row + 1 < self.rows:
            self.row += 1
        else:
            self.lines = self.lines[1:] + [self._blank()]

    def _sequence(self, mark, parameters, final):
        numbers = [int(number or 0) for number in parameters.split(";")]
        count = max(numbers[0], 1)
        if mark == "?" and final in "hl":
            if 25 in numbers:
                self.cursor_shown = final == "h"
        elif mark:
            raise ValueError(f"unknown control sequence: {mark}{parameters}{final}")
        elif final == "A":
            self.row = max(self.row - count, 0)
        elif final == "B":
            self.row = min(self.row + count, self.rows - 1)
        elif final == "C":
            self.column = min(self.column + count, self.columns - 1)
        elif final == "D":
            self.column = max(min(self.column, self.columns - 1) - count, 0)
        elif final == "G":
            self.column = min(count, self.columns) - 1
        elif final == "H":
            self.row = min(count, self.rows) - 1
            self.column = min(max(numbers[1] if len(numbers) > 1 else 1, 1), self.columns) - 1
        elif final == "J":
            self._erase_line(numbers[0])
            for row in [range(self.row + 1, self.rows), range(self.row), range(self.rows)][numbers[0]]:
                self.lines[row] = self._blank()
        elif final == "K":
            self._erase_line(numbers[0])
        elif final == "m":
            for number in numbers:
                self._attribute(number)
        elif final == "n" and numbers[0] == 6:
            return f"\x1b[{self.row + 1};{min(self.column, self.columns - 1) + 1}R"
        else:
            raise ValueError(f"unknown control sequence: {parameters}{final}")
        return ""

    def _erase_line(self, part):
        first = self.column if part == 0 else 0
        last = self.column + 1 if part == 1 else self.columns
        self.lines[self.row][first:last] = self._blank()[first:last]

    def _attribute(self, number):
        if number == 0:
            self.colour = self.weight = ""
        elif number == 1:
            self.weight = "bold"
        elif number == 22:
            self.weight = ""
        elif number == 39:
            self.colour = ""
        elif number // 10 in (3, 9) and number % 10 < 8:
            self.colour = COLOURS[number % 10]
        else:
            raise ValueError(f"unknown attribute: {number}")

    def screen(self):
        """The screen as hashable rows of (column, text, class) runs, and the cursor's (row, column), or None if it is hidden."""
        cursor = (self.row, min(self.column, self.columns - 1)) if self.cursor_shown else None
        return [self._runs(line) for line in self.lines], cursor

    @staticmethod
    def _runs(line):
        runs = []
        for column, (character, style) in enumerate(line):
            if runs and runs[-1][2] == style:
                runs[-1][1] += character
            else:
                runs.append([column, character, style])
        stripped = [(column, text.rstrip(), style) for column, text, style in runs]
        return tuple(run for run in stripped if run[1])
