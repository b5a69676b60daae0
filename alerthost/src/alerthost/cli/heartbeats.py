"""``alerthost heartbeat`` and ``heartbeats``: signs of life of other programs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alerthost.cli.options import command, with_config, with_json
from alerthost.cli.output import Screen, age, iso
from alerthost.config import configuration
from alerthost.config.document import ConfigFile, refuse
from alerthost.config.durations import in_words
from alerthost.config.store import open_engine
from hostspec.provider import Table

if TYPE_CHECKING:
    from alerthost.outbox.expected_heartbeat import HeartbeatRow


@command(
    "Send a sign of life.",
    example="alerthost exec shop/backup -- backup.sh; alerthost heartbeat backup",
)
@with_config
@click.argument("key")
def heartbeat(path: Path, *, key: str) -> None:
    """Record that the heartbeat KEY was heard now.

    It is written into the store, so it counts even while `alerthost run` is down. Other users,
    and machines without the store, post to /heartbeats/KEY instead. `alerthost exec` reports a
    failure itself; after a job without it, write && instead of the semicolon.
    """
    source = ConfigFile.read(path)
    loaded = configuration.load(source)
    from alerthost.outbox.acceptance import UnknownHeartbeatError  # noqa: PLC0415 -- slow to import

    screen = Screen()
    with open_engine(source, loaded) as engine:
        try:
            due = engine.hear(key)
        except UnknownHeartbeatError as error:
            refuse("", str(error))
    screen.print(f"heard; the next one is missed after {iso(due)}", "green")
    screen.exit(success=True)


@command("List the expected heartbeats.", example="alerthost heartbeats")
@with_config
@with_json
def heartbeats(path: Path, *, as_json: bool) -> None:
    """List the expected heartbeats: whether each is missed, when it was heard, when it is due."""
    source = ConfigFile.read(path)
    loaded = configuration.load(source)
    screen, now = Screen(), time.time()
    with open_engine(source, loaded) as engine:
        rows = engine.admin.heartbeats(loaded.heartbeats)
    if as_json:
        screen.print_json([_as_json(row) for row in rows])
    elif rows:
        names = ("key", "state", "last heard", "due", "every")
        cells = tuple(_cells(row, now) for row in rows)
        screen.table(Table("Heartbeats", names, cells))
    else:
        screen.print("No heartbeat is expected; add [[heartbeats]] to the file.", "bold")
    screen.exit(success=True)


def _cells(row: HeartbeatRow, now: float) -> tuple[str, ...]:
    heard = "never" if row.heard_at is None else f"{age(row.heard_at, now)} ago"
    due = "" if row.due is None else f"in {in_words(max(0.0, row.due - now))}"
    if row.missed_at is not None:
        due = f"missed {age(row.missed_at, now)} ago"
    every = f"{in_words(row.heartbeat.every)} + {in_words(row.heartbeat.grace)}"
    return row.heartbeat.key, row.state, heard, due, every


def _as_json(row: HeartbeatRow) -> dict[str, Any]:
    return {
        "key": row.heartbeat.key,
        "state": row.state,
        "heard_at": iso(row.heard_at),
        "due": iso(row.due),
        "missed_at": iso(row.missed_at),
        "every": row.heartbeat.every,
        "grace": row.heartbeat.grace,
    }
