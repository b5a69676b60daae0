"""``alerthost incidents`` and ``resolve``, and open incidents that a removal would cut off."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import attrs
import click

from alerthost.cli import prompts
from alerthost.cli.options import Function, command, with_config, with_json, with_most, with_timeout
from alerthost.cli.output import Screen, age, iso, printable
from alerthost.cli.session import (
    Session,
    StoreView,
    change_each,
    conclude,
    open_session,
    open_store,
    view_of,
)
from alerthost.config import configuration
from alerthost.config.accounts import Accounts, cuts_off
from alerthost.config.document import ConfigFile, refuse
from alerthost.config.states import incident_state
from hostspec.delivery import Incident
from hostspec.provider import Installation, Table
from hostspec.text import shorten

if TYPE_CHECKING:
    from alerthost.outbox.admin import Admin
    from alerthost.outbox.admin_rows import IncidentRow

RESOLVE: Final = "resolve"
LEAVE: Final = "leave"

SHOWN: Final = 20
"""Incidents that are listed before a removal, at most."""

_OPTIONAL: Final = ("alerts", "link")
_TABLE_WIDTH: Final = 78
"""Of 80 columns, without the borders that a terminal shows."""

_SUMMARY_WIDTH: Final = 17
"""The least width of a summary."""


@command("List open incidents.", example="alerthost incidents --account acme")
@with_config
@click.option("--account", metavar="NAME", help="List only incidents of this account.")
@with_most
@with_json
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
            screen.print_json([_incident_json(row, view) for row in rows])
        elif rows:
            screen.table(_table("Incidents", rows, view))
            if len(_find(view.admin, account, most + 1)) > len(rows):
                screen.warn("more are open; use --most to list them")
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


def _table(title: str, rows: Iterable[IncidentRow], view: StoreView) -> Table:
    """Build a table of incidents that fits 80 columns, if its links and names allow it."""
    now = time.time()
    listed = [_cells(row, view, now) for row in rows]
    shown = [
        name for name in listed[0] if name not in _OPTIONAL or any(cells[name] for cells in listed)
    ]
    used = sum(
        max(len(name), *(len(cells[name]) for cells in listed)) + len("  ")
        for name in shown
        if name not in {"summary", "link"}
    )
    width = max(_TABLE_WIDTH - used, _SUMMARY_WIDTH)
    for cells in listed:
        if len(cells["summary"]) > width:
            cells["summary"] = shorten(cells["summary"], width - 1)
    return Table(title, tuple(shown), tuple(tuple(cells[n] for n in shown) for cells in listed))


def _cells(row: IncidentRow, view: StoreView, now: float) -> dict[str, str]:
    ref = row.incident.ref
    alerts = ", ".join(map(str, row.incident.holders)) or "none"
    return {
        "id": str(row.id),
        "state": incident_state(row, view.configuration),
        "severity": str(row.incident.severity),
        "service": printable(view.lanes.name_of(ref)),
        "incident": printable(ref.correlation_key),
        "age": age(row.opened_at, now),
        "summary": printable(row.summary),
        "alerts": "" if alerts == ref.correlation_key else printable(alerts),
        "link": printable(view.lanes.link_of(ref)),
    }


def _incident_json(row: IncidentRow, view: StoreView) -> dict[str, Any]:
    incident = row.incident
    return {
        "id": row.id,
        "state": incident_state(row, view.configuration),
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


@command("Close incidents.", example="alerthost resolve 7")
@with_config
@click.option(
    "--here", is_flag=True, help="Only record here that they were closed at the provider."
)
@with_timeout
@click.argument("ids", metavar="INCIDENT...", type=int, nargs=-1, required=True)
def resolve(path: Path, *, here: bool, timeout: float, ids: tuple[int, ...]) -> None:
    """Close incidents at their provider, even if alerts still hold them open.

    An alert that keeps firing opens a new incident with its next update.
    """
    screen = Screen()
    if here:
        with open_store(path) as view:
            change_each(ids, lambda number: _forget(view.admin, number), screen)
    source = ConfigFile.read(path)
    with open_session(source, configuration.load(source), screen) as session:
        _resolve_all(session, ids, timeout)
    conclude(session.tracker.tally, screen, "incident")


def _forget(admin: Admin, number: int) -> str:
    admin.forget(number)
    return f"forgot incident {number}"


def _resolve_all(session: Session, ids: Iterable[int], timeout: float) -> None:
    """Resolve incidents, and wait up to `timeout` seconds until their provider confirms."""
    admin = session.engine.admin
    for number in ids:
        session.tracker.operate(
            number,
            "incident",
            lambda number: (f"incident {number}", admin.resolve(number)),
            idle="forgotten here; its provider has no resolve",
        )
    session.finish(timeout)


def with_choice(command: Function) -> Function:
    """Add the options that decide about open incidents; see `OpenIncidents.settle`."""
    leave = click.option("--leave", "choice", flag_value=LEAVE, help="Leave open incidents open.")
    resolve = click.option(
        "--resolve", "choice", flag_value=RESOLVE, help="Close open incidents first."
    )
    return resolve(leave(command))


@attrs.frozen
class OpenIncidents:
    """The open incidents that could not be closed any more after a removal.

    Attributes:
        accounts: all of them.
        account: the account of the incidents.
        place: the name of the removed account or service, as shown to the operator.
        includes: selects incidents of the account.
    """

    accounts: Accounts
    account: str
    place: str
    includes: Callable[[Incident], bool] = lambda _: True

    @classmethod
    def of_change(
        cls, accounts: Accounts, before: Installation[Any], after: Installation[Any], place: str
    ) -> Self:
        """Select the incidents that can be followed up before a change, but not after it."""

        def includes(incident: Incident) -> bool:
            return cuts_off(accounts.plugins, incident, before, after)

        return cls(accounts, before.name, place, includes)

    def settle(
        self,
        choice: str | None,
        timeout: float,
        screen: Screen,
        *,
        undone: str,
        confirm: Callable[[], None] = lambda: None,
    ) -> str:
        """List the incidents, and close them if the operator chooses so; exit if one stays open.

        Args:
            choice: made on the command line; None to ask.
            timeout: seconds to wait for the provider.
            screen: lists the incidents, and shows the deliveries.
            undone: the consequence if one stays open (``not removed``).
            confirm: called before any is closed.

        Returns:
            `RESOLVE` or `LEAVE`; empty if no incident is open.
        """
        chosen = self._choose(choice) if self.list_open(screen) else ""
        confirm()
        if chosen == RESOLVE:
            self._close(screen, timeout, undone)
        return chosen

    def list_open(self, screen: Screen) -> bool:
        """List the incidents; return whether any is open."""
        with view_of(self.accounts) as view:
            rows = self._find(view.admin)
            if rows:
                screen.table(_table(f"Open in {self.place}", rows[:SHOWN], view))
        if len(rows) > SHOWN:
            screen.warn(f"and {len(rows) - SHOWN} more")
        return bool(rows)

    def _choose(self, choice: str | None) -> str:
        if choice is not None:
            return choice
        if not prompts.can_ask():
            refuse("", "incidents are open there: use --resolve to close them first, or --leave")
        question = "Close them first, or leave them open"
        return str(click.prompt(question, type=click.Choice([RESOLVE, LEAVE]), err=True))

    def _close(self, screen: Screen, timeout: float, undone: str) -> None:
        source = self.accounts.source
        # without the rules, the engine would plan queued alerts to nothing
        with open_session(source, configuration.load(source), screen) as session:
            ids = [row.id for row in self._find(session.engine.admin)]
            _resolve_all(session, ids, timeout)
        if not session.tracker.tally.all_well:
            place = self.place
            screen.print_error(
                f"{undone}: incidents are still open in {place}; try again, or use --leave"
            )
            screen.exit(success=False)

    def _find(self, admin: Admin) -> list[IncidentRow]:
        most = admin.count_open(self.account)
        rows = admin.incidents(installation=self.account, most=most)
        return [row for row in rows if self.includes(row.incident)]
