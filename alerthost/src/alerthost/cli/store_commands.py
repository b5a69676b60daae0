"""The commands about the store as a whole."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from alerthost.cli.commands import example, speaks_plainly
from alerthost.cli.screen import Screen, printable


@click.group(short_help="Copy the store.")
def store() -> None:
    """Look after the database that [store] url names."""


@store.command(short_help="Copy everything to another database.")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@speaks_plainly
@example("alerthost store copy sqlite:///alerthost.db postgresql://alerts@db.example/alerts")
def copy(source: str, target: str) -> None:
    """Copy everything from one database to another: FROM and TO are like [store] url.

    Stop whatever works on either of them first. TO is empty, or holds what an earlier copy that
    was interrupted got done: that is not done again. At the end each row is compared. Then name
    TO as [store] url; the key that seals secrets stays the same.
    """
    # libraries that take their time
    from alerthost.outbox.heartbeat import is_worked_on  # noqa: PLC0415
    from alerthost.store import copying  # noqa: PLC0415
    from alerthost.store.database import Database  # noqa: PLC0415
    from alerthost.store.errors import StoreError  # noqa: PLC0415

    screen = Screen()
    with Database(source, Path()) as read, Database(target, Path()) as written:
        if not read.exists:
            message = f"{read.name} is not there"
            raise StoreError(message)
        for database in (read, written):
            if database.exists and is_worked_on(database):
                message = f"alerthost works on {database.name}; stop it first, and try again"
                raise StoreError(message)
        try:
            with screen.progress("copying", copying.count(read)) as progress:
                copied = copying.copy(read, written, progress.advance)
        except KeyboardInterrupt:
            screen.complain("interrupted; start it again with the same words, and it goes on")
            sys.exit(1)
    rows = "row" if copied == 1 else "rows"
    screen.say(printable(f"copied {copied:,} {rows} to {written.name}, and compared them"), "bold")
