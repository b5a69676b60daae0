"""Standard output and standard error: coloured and wrapped on a terminal, plain elsewhere."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NoReturn, TextIO, TypeAlias, cast

import click

from alerthost.cli.formatting import columns, printable
from hostspec.provider import Table

if TYPE_CHECKING:
    from rich.table import Table as RichTable

Live: TypeAlias = Callable[[Table, str], None]
"""Replaces the table and the line shown last."""

Advance: TypeAlias = Callable[[int], None]
"""Advances a progress bar by so many steps."""

_HANGING_INDENT: Final = 2

_COLOURS: Final = {
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
    "superseded": "dim",
    "discarded": "dim",
    "queued": "yellow",
    "in flight": "yellow",
    "blocked": "red",
    "rejected": "red",
    "dead": "red",
    "orphaned": "red",
    "cut off": "red",
    "uncertain": "red",
}


class Screen:
    """The standard output and standard error of a command."""

    def __init__(self) -> None:
        self._out = _Stream(sys.stdout)
        # two consoles on one terminal would overwrite each other's progress bars
        shared = self._out.is_terminal and sys.stderr.isatty()
        self._err = self._out if shared else _Stream(sys.stderr)

    @property
    def is_broken(self) -> bool:
        """Whether a stream could not be written; nothing more is written to it."""
        return self._out.is_broken or self._err.is_broken

    def print(self, text: str = "", style: str = "") -> None:
        """Print a line to standard output, wrapped between words on a terminal."""
        self._out.line(text, style)

    def print_raw(self, text: str) -> None:
        """Print a line to standard output, unwrapped."""
        self._out.plain(text)

    def print_error(self, text: str, style: str = "red") -> None:
        """Print a line to standard error."""
        self._err.line(text, style)

    def note(self, text: str) -> None:
        """Print a note to standard error."""
        self.print_error(printable(f"note: {text}"), "yellow")

    def table(self, table: Table) -> None:
        """Print a table to standard output; off a terminal, each row is one line."""
        self._out.table(table)

    @contextlib.contextmanager
    def live(self) -> Iterator[Live | None]:
        """Show a table that can be replaced; None off a terminal."""
        with self._out.live() as live:
            yield live

    @contextlib.contextmanager
    def progress(self, title: str, total: int | None) -> Iterator[Advance]:
        """Show a progress bar on a terminal; a `total` of None is unknown."""
        with self._err.progress(title, total) as advance:
            yield advance

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
        self._console = None
        if isinstance(stream, io.TextIOWrapper):
            # a character outside the stream's encoding must not end the sending
            stream.reconfigure(errors="backslashreplace")
        if self._output is not None and self._output.isatty():
            from rich.console import Console  # noqa: PLC0415 -- only needed on terminals

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
        hanging = indent + _HANGING_INDENT if indent else 0
        for part in Text(words).wrap(self._console, max(self._console.width - hanging, 1)):
            shown = " " * indent + part.plain.rstrip()
            self._console.print(shown, style=style or None, markup=False, soft_wrap=True)
            indent = hanging

    def plain(self, text: str) -> None:
        if self._output is not None:
            click.echo(text, file=cast("TextIO", self._output))

    def table(self, table: Table) -> None:
        if self._console:
            self._console.print(_rich_table(table))
            return
        rows = (table.columns, *table.rows)
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for line in (table.title, *(columns(row, widths) for row in rows), ""):
            self.plain(line)

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
    def progress(self, title: str, total: int | None) -> Iterator[Advance]:
        if not self._console:
            yield lambda _: None
            return
        from rich.progress import Progress  # noqa: PLC0415

        with Progress(console=self._console, transient=True) as bar:
            task = bar.add_task(title, total=total)
            yield lambda count: bar.advance(task, count)


def _rich_table(table: Table) -> RichTable:
    from rich import box  # noqa: PLC0415
    from rich.table import Table as RichTable  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

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
        shown.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row))
    return shown
