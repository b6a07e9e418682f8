"""What the demo prints: steps with their seconds, progress, tables."""

import sys
import time
from contextlib import contextmanager


class Screen:
    """Steps and progress on standard error, results on standard output.

    On a terminal, progress overwrites its own line; elsewhere it is a line every few seconds.
    """

    EVERY = 5

    def __init__(self):
        self._live = sys.stderr.isatty()
        self._label = ""
        self._last = 0.0

    @contextmanager
    def step(self, label):
        """A line with the seconds that the block took, once it is through."""
        self._label, start = label, time.monotonic()
        self._last = start
        if self._live:
            self._write(f"      …  {label}")
        try:
            yield self
        finally:
            if self._live:
                self._write("")
            self._label = ""
        print(f"{time.monotonic() - start:5.0f} s  {label}", file=sys.stderr, flush=True)

    def progress(self, text):
        """A sign of life inside a step."""
        now = time.monotonic()
        if not self._live and now - self._last < self.EVERY:
            return
        self._last = now
        line = f"      …  {self._label}: {text}"
        if self._live:
            self._write(line)
        else:
            print(line, file=sys.stderr, flush=True)

    @staticmethod
    def _write(line):
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


def table(head, rows, right=()):
    """Lines of a table with a head.

    :param head: the columns' titles.
    :param rows: lists of texts, one for each column.
    :param right: numbers of the columns that are aligned to the right.
    """
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

    def line(row):
        cells = (
            text.rjust(width) if number in right else text.ljust(width)
            for number, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return [line(head), "  ".join("─" * width for width in widths), *map(line, rows)]


def money(amount):
    """Shillings and cents, as people write them."""
    return f"{amount:,.2f}"
