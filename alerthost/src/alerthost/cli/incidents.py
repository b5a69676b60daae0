"""``alerthost incidents`` and ``resolve``: lists open incidents, and closes them."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from alerthost.cli.formatting import age, iso, printable
from alerthost.cli.options import example, report_errors, with_config, with_json, with_timeout
from alerthost.cli.progress import Tracked, Tracker
from alerthost.cli.reach import Reach
from alerthost.cli.screen import Screen
from alerthost.cli.session import Session, conclude, open_session
from alerthost.config import configuration, store
from alerthost.config.accounts import Accounts, open_accounts
from alerthost.config.configuration import Configuration
from alerthost.config.destinations import LaneNames
from alerthost.config.document import ConfigFile
from hostspec.delivery import IncidentState
from hostspec.provider import Table
from hostspec.text import shorten

if TYPE_CHECKING:
    from alerthost.outbox.admin import Admin
    from alerthost.outbox.admin_rows import IncidentRow

with_most = click.option(
    "--most", type=click.IntRange(1), default=100, show_default=True, help="List at most so many."
)

_COLUMNS: Final = (
    *("id", "state", "severity", "service", "incident", "age"),
    *("summary", "alerts", "link"),
)
_SUMMARY: Final = _COLUMNS.index("summary")
_OPTIONAL: Final = ("alerts", "link")

_TABLE_WIDTH: Final = 80
_SUMMARY_WIDTH: Final = 20
"""The least width of a summary."""


@attrs.frozen(eq=False)
class StoreView:
    """The store of a configuration, with names for its contents."""

    accounts: Accounts
    admin: Admin
    lanes: LaneNames
    reach: Reach


@contextlib.contextmanager
def open_store(path: Path) -> Iterator[StoreView]:
    """Open the store of a configuration, even if its rules are wrong."""
    with open_accounts(path) as accounts, view_of(accounts) as view:
        yield view


@contextlib.contextmanager
def view_of(accounts: Accounts) -> Iterator[StoreView]:
    """Open the store that some accounts belong to."""
    from alerthost.outbox.admin import Admin  # noqa: PLC0415 -- slow to import

    with store.database_of(accounts.source) as database:
        installations = accounts.installations()
        lanes = LaneNames.of(Configuration(accounts.plugins, installations, ()))
        admin = Admin(database, accounts.plugins, time.time)
        yield StoreView(accounts, admin, lanes, Reach.of(accounts.plugins, installations))


@click.command(short_help="List open incidents.")
@with_config
@click.option("--account", metavar="NAME", help="List only incidents of this account.")
@with_most
@with_json
@report_errors
@example("alerthost incidents --account acme")
def incidents(path: Path, *, account: str | None, most: int, as_json: bool) -> None:
    """List the open incidents: severity, service, age and summary.

    An incident that is orphaned or cut off cannot be closed from here; close it at the provider.
    """
    screen = Screen()
    with open_store(path) as view:
        rows = _find(view.admin, account, most)
        if account is not None and not rows:
            view.accounts.find(account)  # a removed account may still have open incidents
        if as_json:
            listed = [_incident_json(row, view) for row in rows]
            screen.print_raw(json.dumps(listed, ensure_ascii=False))
        elif rows:
            screen.table(table("Incidents", rows, view))
            if len(_find(view.admin, account, most + 1)) > len(rows):
                screen.print_error("more are open; use --most to list them", "yellow")
        else:
            screen.print("No incident is open.", "bold")
    screen.exit(success=True)


def _find(admin: Admin, account: str | None, most: int) -> Sequence[IncidentRow]:
    """Find incidents that are open or orphaned, oldest first."""
    if not admin.exists:
        return ()
    found = [
        *admin.incidents(installation=account, most=most),
        *admin.incidents(orphaned=True, installation=account, most=most),
    ]
    return sorted(found, key=lambda row: row.id)


def state_of(row: IncidentRow, reach: Reach) -> str:
    """Return the state of an incident."""
    ref = row.incident.ref
    if row.orphaned:
        return "orphaned"
    if reach.missing(ref.action, ref.installation):
        return "cut off"
    if not row.incident.holders:
        return "resolving"
    if not row.trigger_delivered or row.incident.state is IncidentState.RESOLVED:
        return "not sent yet"
    return str(row.incident.state)


def table(title: str, rows: Iterable[IncidentRow], view: StoreView) -> Table:
    """Build a table of incidents that fits 80 columns, if its links and names allow it."""
    now = time.time()
    cells = [_cells(row, view, now) for row in rows]
    shown = [
        n
        for n, name in enumerate(_COLUMNS)
        if name not in _OPTIONAL or any(each[n] for each in cells)
    ]
    used = sum(
        max(len(each[n]) for each in (_COLUMNS, *cells)) + len("  ")
        for n in shown
        if n != _SUMMARY and _COLUMNS[n] != "link"
    )
    width = max(_TABLE_WIDTH - used, _SUMMARY_WIDTH)
    fitting = [
        (*each[:_SUMMARY], _cut(each[_SUMMARY], width), *each[_SUMMARY + 1 :]) for each in cells
    ]
    return Table(
        title,
        tuple(_COLUMNS[n] for n in shown),
        tuple(tuple(each[n] for n in shown) for each in fitting),
    )


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else shorten(text, width - 1)


def _cells(row: IncidentRow, view: StoreView, now: float) -> tuple[str, ...]:
    ref = row.incident.ref
    alerts = ", ".join(map(str, row.incident.holders)) or "none"
    return (
        str(row.id),
        state_of(row, view.reach),
        str(row.incident.severity),
        printable(view.lanes.name_of(ref)),
        printable(ref.correlation_key),
        age(row.opened_at, now),
        printable(row.summary),
        "" if alerts == ref.correlation_key else printable(alerts),
        printable(view.lanes.link_of(ref)),
    )


def _incident_json(row: IncidentRow, view: StoreView) -> dict[str, Any]:
    incident = row.incident
    return {
        "id": row.id,
        "state": state_of(row, view.reach),
        "service": view.lanes.name_of(incident.ref),
        "action": incident.ref.action,
        "correlation_key": incident.ref.correlation_key,
        "severity": str(incident.severity),
        "summary": row.summary,
        "may_be_open": row.may_be_open,
        "holders": [{"scope": each.scope, "key": each.key} for each in incident.holders],
        "rules": list(incident.rules),
        "opened_at": iso(row.opened_at),
        "changed_at": iso(row.changed_at),
        "link": view.lanes.link_of(incident.ref) or None,
    }


@click.command(short_help="Close incidents.")
@with_config
@click.option(
    "--here", is_flag=True, help="Only record here that they were closed at the provider."
)
@with_timeout
@click.argument("ids", metavar="INCIDENT...", type=int, nargs=-1, required=True)
@report_errors
@example("alerthost resolve 7")
def resolve(path: Path, *, here: bool, timeout: float, ids: tuple[int, ...]) -> None:
    """Close incidents at their provider, even if alerts still hold them open.

    An alert that keeps firing opens a new incident with its next update.
    """
    from alerthost.outbox.admin_rows import AdminError  # noqa: PLC0415 -- slow to import

    screen = Screen()
    if here:
        success = True
        with open_store(path) as view:
            for number in ids:
                try:
                    view.admin.forget(number)
                    screen.print(f"forgot incident {number}", "green")
                except AdminError as error:
                    success = False
                    screen.print_error(printable(str(error)))
        screen.exit(success=success)
    source = ConfigFile.read(path)
    loaded = configuration.load(source)
    with open_session(source, loaded, screen) as session:
        tracker = resolve_all(session, lambda _: ids, timeout)
    conclude(tracker.tally, screen, "incident")


def resolve_all(
    session: Session, find: Callable[[Admin], Iterable[int]], timeout: float
) -> Tracker:
    """Resolve incidents, and wait up to `timeout` seconds until their provider confirms.

    Raises:
        StoreError: the store cannot be used.
    """
    tracker = session.tracker()
    for number in find(session.engine.admin):
        _resolve(session.engine.admin, number, tracker)
    session.wait(tracker, timeout)
    session.finish(tracker)
    return tracker


def _resolve(admin: Admin, number: int, tracker: Tracker) -> None:
    from alerthost.outbox.admin_rows import AdminError  # noqa: PLC0415 -- slow to import

    place = f"incident {number}"
    try:
        submission_id = admin.resolve(number)
    except AdminError as error:
        tracker.reject(str(error))
        return
    if submission_id is None:
        remark = "forgotten here; its provider has no resolve"
        tracker.add(Tracked.idle(place, place, remark))
    else:
        tracker.add(Tracked.accepted(place, place, submission_id))
