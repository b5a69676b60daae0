"""Shows text to a person: coloured and laid out on a terminal, plain everywhere else."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol, TextIO, TypeAlias, cast

import click

from hostspec.demo import Table

if TYPE_CHECKING:
    from rich.table import Table as RichTable
    from rich.text import Text


_FURTHER: Final = 2

Live: TypeAlias = Callable[[Table, str], None]
"""Shows a table and a line in place of the last ones."""


class Progress(Protocol):
    """Counts what was done."""

    def advance(self, count: int = 1) -> None:
        """Count what was done since."""


def printable(text: str) -> str:
    """Make text safe to show on one line: control characters are spelled out."""
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        and character not in "\u200d\ufe0f"
        else character
        for character in text
    )


class Screen:
    """Where a command's output and its complaints go."""

    def __init__(self) -> None:
        self._out = _Stream(sys.stdout)
        # one terminal has one console: two would write over each other's progress bars
        shared = self._out.is_terminal and sys.stderr.isatty()
        self._err = self._out if shared else _Stream(sys.stderr)

    @property
    def is_broken(self) -> bool:
        """Whether something could not be shown, and nothing more is."""
        return self._out.is_broken or self._err.is_broken

    def say(self, text: str = "", style: str = "") -> None:
        """Show a line of what the command is for; a terminal's lines end between words."""
        self._out.line(text, style)

    def give(self, text: str) -> None:
        """Return a line to a machine: plain on a terminal too."""
        self._out.plain(text)

    def complain(self, text: str, style: str = "red") -> None:
        """Show a line of what a person should look at."""
        self._err.line(text, style)

    def explain(self, text: str) -> None:
        """Show help beside a question."""
        self.complain(text, "dim")

    def note(self, text: str) -> None:
        """Show what a person should know, though nothing is wrong."""
        self.complain(printable(f"note: {text}"), "yellow")

    def table(self, table: Table) -> None:
        """Show a table: its columns in line, each row on one line off a terminal."""
        self._out.table(table)

    @contextlib.contextmanager
    def live(self) -> Iterator[Live | None]:
        """Show a table and a line below it, each time in place of the last ones.

        Gives None off a terminal, where nothing can be taken back.
        """
        with self._out.live() as live:
            yield live

    @contextlib.contextmanager
    def progress(self, title: str, total: int | None) -> Iterator[Progress]:
        """Show how far a long work is, on a terminal; `total` is None where nobody knows."""
        with self._err.progress(title, total) as progress:
            yield progress


class _NoProgress:
    def advance(self, count: int = 1) -> None:
        pass


class _Output:
    """A file that takes what the one below it refuses: that must not end the sending.

    A full disk, a pipe that nobody reads, a terminal that was closed.
    """

    def __init__(self, file: TextIO) -> None:
        self.is_broken = False
        self.encoding = file.encoding
        self._file = file

    def isatty(self) -> bool:
        return self._file.isatty()

    def write(self, text: str) -> None:
        with self._unbroken():
            self._file.write(text)

    def flush(self) -> None:
        with self._unbroken():
            self._file.flush()

    @contextlib.contextmanager
    def _unbroken(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            self.is_broken = True
            # what is left in its buffer, and all that comes, goes where nothing is refused
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._file.fileno())
            os.close(nowhere)


class _Stream:
    """One stream: a console of rich's on a terminal, plain lines elsewhere."""

    def __init__(self, stream: TextIO | None) -> None:
        self._output = None if stream is None else _Output(stream)
        self._console = None
        if isinstance(stream, io.TextIOWrapper):
            # what a terminal or pipe has no letter for must not end the sending
            stream.reconfigure(errors="backslashreplace")
        if self._output is not None and self._output.isatty():
            from rich.console import Console  # noqa: PLC0415 -- only terminals pay for it

            self._console = Console(file=cast("TextIO", self._output), highlight=False, emoji=False)

    @property
    def is_terminal(self) -> bool:
        return self._console is not None

    @property
    def is_broken(self) -> bool:
        return self._output is None or self._output.is_broken

    def line(self, text: str, style: str) -> None:
        if self._console is None:
            self.plain(text)
            return
        from rich.text import Text  # noqa: PLC0415

        words = text.lstrip(" ")
        indent = len(text) - len(words)
        # what is indented goes on below itself, a little further in
        further = indent + _FURTHER if indent else 0
        for part in Text(words).wrap(self._console, max(self._console.width - further, 1)):
            shown = " " * indent + part.plain.rstrip()
            self._console.print(shown, style=style or None, markup=False, soft_wrap=True)
            indent = further

    def plain(self, text: str) -> None:
        """Write a line."""
        if self._output is not None:
            click.echo(text, file=cast("TextIO", self._output))

    def table(self, table: Table) -> None:
        if self._console:
            self._console.print(_rich_table(table))
            return
        self.line(table.title, "")
        rows = [table.columns, *table.rows]
        widths = [max(len(row[n]) for row in rows) for n in range(len(table.columns))]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self.line("  ".join(cells).rstrip(), "")
        self.line("", "")

    @contextlib.contextmanager
    def live(self) -> Iterator[Live | None]:
        if not self._console:
            yield None
            return
        from rich.console import Group  # noqa: PLC0415
        from rich.live import Live as RichLive  # noqa: PLC0415

        with RichLive(console=self._console, auto_refresh=False) as shown:
            yield lambda table, text: shown.update(Group(_rich_table(table), text), refresh=True)

    @contextlib.contextmanager
    def progress(self, title: str, total: int | None) -> Iterator[Progress]:
        if not self._console:
            yield _NoProgress()
            return
        from rich.progress import Progress as RichProgress  # noqa: PLC0415

        with RichProgress(console=self._console, transient=True) as bar:
            task = bar.add_task(title, total=total)

            class _Bar:
                def advance(self, count: int = 1) -> None:
                    bar.advance(task, count)

            yield _Bar()


def _rich_table(table: Table) -> RichTable:
    from rich import box  # noqa: PLC0415
    from rich.table import Table as RichTable  # noqa: PLC0415

    shown = RichTable(
        title=table.title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for column in table.columns:
        shown.add_column(column, overflow="fold")
    for row in table.rows:
        shown.add_row(*(_coloured(cell) for cell in row))
    return shown


_COLOURS = {
    "triggered": "red",
    "acknowledged": "yellow",
    "resolved": "green",
    "critical": "bold red",
    "error": "red",
    "warning": "yellow",
    "active": "green",
    "failed": "bold red",
    "disabled": "dim",
    "delivered": "green",
    "coalesced": "dim",
    "discarded": "dim",
    "queued": "yellow",
    "blocked": "red",
    "rejected": "red",
    "in flight": "yellow",
    "orphaned": "red",
    "cut off": "red",
    "uncertain": "red",
}


def _coloured(cell: str) -> Text:
    from rich.text import Text  # noqa: PLC0415

    return Text(cell, style=_COLOURS.get(cell, ""))


def columns(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Lay out the cells of one line; the last one is as long as it is."""
    laid_out = (cell.ljust(width) for cell, width in zip(cells, widths, strict=False))
    return "  ".join((*laid_out, *cells[len(widths) :])).rstrip()
