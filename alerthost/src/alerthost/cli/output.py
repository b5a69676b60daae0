"""The output of commands: two streams, tables, and the format of texts, counts and times."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, TextIO, TypeAlias, cast

import click

from hostspec.provider import Table

if TYPE_CHECKING:
    from rich.table import Table as RichTable

Live: TypeAlias = Callable[[Table, str], None]
"""Replaces the table and the line shown last."""

Advance: TypeAlias = Callable[[int], None]
"""Advances a progress bar by so many steps."""

_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "min"))
_HANGING_INDENT: Final = 2
_LEAST_WIDTH: Final = 20

_BY_COLOUR: Final = {
    "green": ("active", "delivered", "resolved"),
    "dim": ("coalesced", "disabled", "discarded", "superseded"),
    "yellow": ("acknowledged", "in flight", "queued", "warning"),
    "red": (
        *("blocked", "cut off", "dead", "error", "orphaned"),
        *("rejected", "triggered", "uncertain"),
    ),
    "bold red": ("critical", "failed"),
}
_COLOURS: Final = {word: colour for colour, words in _BY_COLOUR.items() for word in words}
"""Colours of words in tables."""


def printable(text: str) -> str:
    """Escape control characters, so that the text is safe to print on one line."""
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        and character not in "\u200d\ufe0f"
        else character
        for character in text
    )


def columns(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Escape and align the cells of one line; cells beyond the last width are not padded."""
    shown = [printable(cell) for cell in cells]
    aligned = (cell.ljust(width) for cell, width in zip(shown, widths, strict=False))
    return "  ".join((*aligned, *shown[len(widths) :])).rstrip()


def plural(word: str, count: int) -> str:
    """Return the singular or plural of a word, for a count."""
    if count == 1:
        return word
    return f"{word[:-1]}ies" if re.search("[^aeiou]y$", word) else f"{word}s"


def counted(count: int, word: str) -> str:
    """Return a count and its word in the right number, such as ``2 deliveries``."""
    return f"{count:,} {plural(word, count)}"


def age(moment: float, now: float) -> str:
    """Return how long ago a moment was, both in seconds since the epoch."""
    seconds = max(0.0, now - moment)
    for unit, name in _UNITS:
        if seconds >= unit:
            return f"{int(seconds // unit)} {name}"
    return f"{int(seconds)} s"


def iso(moment: float | None) -> str | None:
    """Return a moment in UTC as ISO 8601; None stays None."""
    return None if moment is None else dt.datetime.fromtimestamp(moment, dt.UTC).isoformat()


class Screen:
    """The standard output and standard error of a command; control characters are escaped.

    Coloured and wrapped between words on a terminal, plain elsewhere.
    """

    def __init__(self) -> None:
        self._out = _Stream(sys.stdout)
        # two consoles on one terminal would overwrite each other's progress bars
        shared = self._out.console is not None and sys.stderr.isatty()
        self._err = self._out if shared else _Stream(sys.stderr)

    @property
    def is_broken(self) -> bool:
        """Whether a stream could not be written; nothing more is written to it."""
        return self._out.is_broken or self._err.is_broken

    def print(self, text: str = "", style: str = "", *, hanging: int = 0) -> None:
        """Print a line to standard output; where it wraps, indent the rest by `hanging`."""
        self._out.line(printable(text), style, hanging)

    def row(self, cells: Sequence[str], widths: Sequence[int], style: str = "") -> None:
        """Print cells in columns; those beyond the last width wrap below themselves."""
        self.print(columns(cells, widths), style, hanging=sum(widths) + 2 * len(widths))

    def print_lines(self, text: str, style: str = "") -> None:
        """Print several lines to standard output."""
        for line in text.splitlines():
            self.print(line, style)

    def print_unwrapped(self, text: str) -> None:
        """Print a line to standard output as it is to be copied."""
        self._out.plain(printable(text))

    def print_json(self, value: object) -> None:
        """Print a value as one line of JSON to standard output."""
        self._out.plain(json.dumps(value, ensure_ascii=False))

    def print_error(self, text: str, style: str = "red") -> None:
        """Print a line to standard error."""
        self._err.line(printable(text), style)

    def warn(self, text: str) -> None:
        """Print a warning to standard error."""
        self.print_error(text, "yellow")

    def note(self, text: str) -> None:
        """Print a note to standard error."""
        self.warn(f"note: {text}")

    def table(self, table: Table) -> None:
        """Print a table to standard output; off a terminal, each row is one line."""
        self._out.table(table)

    def live(self) -> contextlib.AbstractContextManager[Live | None]:
        """Show a table that can be replaced; None off a terminal."""
        return self._out.live()

    def progress(self, title: str, total: int | None) -> contextlib.AbstractContextManager[Advance]:
        """Show a progress bar on a terminal; a `total` of None is unknown."""
        return self._err.progress(title, total)

    def exit(self, *, success: bool) -> NoReturn:
        """Exit with 0 if the command succeeded and all output was written, else with 1."""
        sys.exit(0 if success and not self.is_broken else 1)


class _Output:
    """A file whose write errors are recorded instead of raised, so that sending goes on.

    The disk may be full, the reader of the pipe gone, or the terminal closed.
    """

    def __init__(self, file: TextIO) -> None:
        self.is_broken = False
        self.encoding = file.encoding
        self._file = file

    def isatty(self) -> bool:
        return self._file.isatty()

    def write(self, text: str) -> None:
        with self._recording_errors():
            self._file.write(text)

    def flush(self) -> None:
        with self._recording_errors():
            self._file.flush()

    @contextlib.contextmanager
    def _recording_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            self.is_broken = True
            # the rest of the buffer goes to the null device, which accepts it
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._file.fileno())
            os.close(null)


class _Stream:
    """One stream: a rich console on a terminal, plain lines elsewhere."""

    def __init__(self, stream: TextIO | None) -> None:
        self._output = None if stream is None else _Output(stream)
        self.console: Any = None
        if isinstance(stream, io.TextIOWrapper):
            # a character outside the stream's encoding must not end the sending
            stream.reconfigure(errors="backslashreplace")
        if self._output is not None and self._output.isatty():
            from rich.console import Console  # noqa: PLC0415 -- only needed on terminals

            self.console = Console(file=cast("TextIO", self._output), highlight=False, emoji=False)

    @property
    def is_broken(self) -> bool:
        return self._output is None or self._output.is_broken

    def line(self, text: str, style: str, hanging: int = 0) -> None:
        if self.console is None:
            self.plain(text)
            return
        from rich.text import Text  # noqa: PLC0415

        width = self.console.width
        indent = len(text) - len(text.lstrip(" "))
        if not hanging or width - hanging < _LEAST_WIDTH:
            hanging = indent + _HANGING_INDENT if indent else 0
        # the first line is as long as the others, so that all can be wrapped at once
        head, rest = text[:hanging], text[hanging:]
        for part in Text(rest).wrap(self.console, max(width - hanging, 1)):
            shown = head + part.plain.rstrip()
            self.console.print(shown, style=style or None, markup=False, soft_wrap=True)
            head = " " * hanging

    def plain(self, text: str) -> None:
        if self._output is not None:
            click.echo(text, file=cast("TextIO", self._output))

    def table(self, table: Table) -> None:
        if self.console:
            self.console.print(_rich_table(table))
            return
        rows = [list(map(printable, row)) for row in (table.columns, *table.rows)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for line in (printable(table.title), *(columns(row, widths) for row in rows), ""):
            self.plain(line)

    @contextlib.contextmanager
    def live(self) -> Iterator[Live | None]:
        if not self.console:
            yield None
            return
        from rich.console import Group  # noqa: PLC0415
        from rich.live import Live as RichLive  # noqa: PLC0415

        with RichLive(console=self.console, auto_refresh=False) as shown:
            yield lambda table, text: shown.update(Group(_rich_table(table), text), refresh=True)

    @contextlib.contextmanager
    def progress(self, title: str, total: int | None) -> Iterator[Advance]:
        if not self.console:
            yield lambda _: None
            return
        from rich.progress import Progress  # noqa: PLC0415

        with Progress(console=self.console, transient=True) as bar:
            task = bar.add_task(title, total=total)
            yield lambda count: bar.advance(task, count)


def _rich_table(table: Table) -> RichTable:
    from rich import box  # noqa: PLC0415
    from rich.table import Table as RichTable  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    shown = RichTable(
        title=printable(table.title),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for column in table.columns:
        shown.add_column(column, overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(printable(cell), style=_COLOURS.get(cell, "")) for cell in row))
    return shown
