"""``alerthost deliveries``, ``replay`` and ``discard``: lists, retries and discards deliveries."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from alerthost.cli.formatting import age, columns, counted, iso, printable
from alerthost.cli.incidents import StoreView, open_store, with_most
from alerthost.cli.options import example, report_errors, with_config, with_json, with_timeout
from alerthost.cli.progress import Tracked, Tracker
from alerthost.cli.screen import Screen
from alerthost.cli.session import conclude, open_session
from alerthost.cli.tally import BLOCKED, QUEUED
from alerthost.config import configuration
from alerthost.config.destinations import LaneNames
from alerthost.config.document import ConfigFile, refuse
from alerthost.outbox.retry_policy import DeliveryState
from hostspec.provider import Table

if TYPE_CHECKING:
    from alerthost.outbox.admin import Admin
    from alerthost.outbox.admin_rows import DeliveryRow, Unsent

GIVEN_UP: Final = tuple(
    map(
        str,
        (
            DeliveryState.DEAD,
            DeliveryState.REJECTED,
            DeliveryState.UNCERTAIN,
            DeliveryState.ORPHANED,
        ),
    )
)
DONE: Final = tuple(
    map(str, (DeliveryState.DELIVERED, DeliveryState.COALESCED, DeliveryState.DISCARDED))
)
UNSENT: Final = ("unmatched", "outdated", "suppressed", "failed", "dead", "discarded")
"""States of submissions with no delivery, or with fewer than their rules ask for."""

STATES: Final = tuple(dict.fromkeys((QUEUED, BLOCKED, *GIVEN_UP, *DONE, *UNSENT)))

REFRESH: Final = 1.0
"""Seconds between two queries of `deliveries --watch`."""

_RECENT: Final = 20
"""Finished deliveries that are listed beside those that need the operator."""

_MOST_REPLAYED: Final = 1000
"""Replayed deliveries that are tracked at once."""

_COLUMNS: Final = ("id", "state", "operation", "service", "alert", "age", "details")


@click.command(short_help="List queued, failed and recent deliveries.")
@with_config
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(STATES),
    metavar="STATE",
    help=f"List only this state; may be repeated: {', '.join(STATES)}.",
)
@with_most
@click.option("--watch", is_flag=True, help="Keep printing changes until Ctrl-C.")
@with_json
@report_errors
@example("alerthost deliveries --state rejected --state dead")
def deliveries(
    path: Path, *, states: tuple[str, ...], most: int, watch: bool, as_json: bool
) -> None:
    """List deliveries: all that are queued or have failed, and the most recent others.

    A blocked delivery waits until the operator fixes the problem in the last column. Alerts
    that could not be planned are listed too. Alerts that match no rule, are outdated, or were
    suppressed by a plugin are listed with --state only.
    """
    screen = Screen()
    with open_store(path) as view:
        if watch:
            _watch(view, states, most, screen, as_json=as_json)
        else:
            _list(view, states, most, screen, as_json=as_json)
    screen.exit(success=True)


def _find_all(
    view: StoreView, states: Sequence[str], most: int
) -> tuple[Sequence[DeliveryRow], Sequence[Unsent]]:
    if not view.admin.exists:
        return (), ()
    return _find(view.admin, states, most), _find_unsent(view.admin, states, most)


def _list(
    view: StoreView, states: Sequence[str], most: int, screen: Screen, *, as_json: bool
) -> None:
    rows, unsent = _find_all(view, states, most)
    if as_json:
        listed = [delivery_json(row, view.lanes) for row in rows]
        _print_json([*listed, *map(_unsent_json, unsent)], screen)
        return
    if rows or unsent:
        screen.table(_table(rows, unsent, view.lanes, time.time()))
    screen.print(_counts(view.admin), "bold")
    if _is_unattended(view.admin):
        screen.note(
            "no process delivers the queued alerts; run `alerthost run` or `alerthost send`"
        )


def _watch(
    view: StoreView, states: Sequence[str], most: int, screen: Screen, *, as_json: bool
) -> None:
    changes = Changes()
    with contextlib.suppress(KeyboardInterrupt), screen.live() as live:
        while not screen.is_broken:
            rows, unsent = _find_all(view, states, most)
            now = time.time()
            if live is not None and not as_json:
                live(_table(rows, unsent, view.lanes, now), _counts(view.admin))
            elif as_json:
                for row in changes.among(rows):
                    _print_json(delivery_json(row, view.lanes), screen)
                for each in changes.among_unsent(unsent):
                    _print_json(_unsent_json(each), screen)
            else:
                for row in changes.among(rows):
                    _print_cells(_cells(row, view.lanes, now), screen)
                for each in changes.among_unsent(unsent):
                    _print_cells(_unsent_cells(each, now), screen)
            time.sleep(REFRESH)


def _print_cells(cells: Sequence[str], screen: Screen) -> None:
    number, *others = cells
    screen.print(columns((number.rjust(6), *others), (6, 10, 11, 16, 20, 6)))


def _print_json(value: Any, screen: Screen) -> None:
    screen.print_raw(json.dumps(value, ensure_ascii=False))


def _find(admin: Admin, states: Sequence[str], most: int) -> tuple[DeliveryRow, ...]:
    """Find deliveries, newest first; without `states`, unfinished, failed and recent ones."""
    if not states:
        recent = admin.deliveries([DeliveryState(each) for each in DONE], most=min(most, _RECENT))
        return _newest_first(_find(admin, (QUEUED, BLOCKED, *GIVEN_UP), most), recent)
    found: list[Sequence[DeliveryRow]] = []
    finished = [DeliveryState(each) for each in states if each in (*GIVEN_UP, *DONE)]
    if finished:
        found.append(admin.deliveries(finished, most=most))
    for state, blocked in ((QUEUED, False), (BLOCKED, True)):
        if state in states:
            found.append(admin.deliveries([DeliveryState.QUEUED], blocked=blocked, most=most))
    return _newest_first(*found)


def _find_unsent(admin: Admin, states: Sequence[str], most: int) -> tuple[Unsent, ...]:
    """Find unsent submissions, newest first; without `states`, the failed and dead ones."""
    from alerthost.outbox.submission import SubmissionOutcome  # noqa: PLC0415 -- slow to import

    if not states:
        return _find_unsent(admin, ("failed", "dead"), min(most, _RECENT))
    found = (admin.unsent(SubmissionOutcome(each), most=most) for each in UNSENT if each in states)
    return tuple(sorted(itertools.chain(*found), key=lambda each: -each.accepted_at))


def _newest_first(*groups: Iterable[DeliveryRow]) -> tuple[DeliveryRow, ...]:
    found = {row.id: row for row in itertools.chain(*groups)}
    return tuple(found[number] for number in sorted(found, reverse=True))


def state_of(row: DeliveryRow) -> str:
    """Return the state of a delivery."""
    if row.sending:
        return "in flight"
    return BLOCKED if row.blocked else str(row.state)


def _table(
    rows: Iterable[DeliveryRow], unsent: Iterable[Unsent], lanes: LaneNames, now: float
) -> Table:
    cells = (_cells(row, lanes, now) for row in rows)
    return Table("Deliveries", _COLUMNS, (*cells, *(_unsent_cells(each, now) for each in unsent)))


def _cells(row: DeliveryRow, lanes: LaneNames, now: float) -> tuple[str, ...]:
    delivery = row.delivery
    return (
        str(row.id),
        state_of(row),
        str(delivery.operation),
        printable(lanes.name_of(delivery.ref)),
        printable(str(delivery.alert)),
        age(row.accepted_at, now),
        _details(row, now),
    )


def _unsent_cells(unsent: Unsent, now: float) -> tuple[str, ...]:
    details = printable("; ".join(unsent.note.reasons))
    alert = printable(str(unsent.alert))
    return ("", str(unsent.outcome), "", "", alert, age(unsent.accepted_at, now), details)


def _details(row: DeliveryRow, now: float) -> str:
    due = row.next_try or now
    parts = (
        counted(row.attempts, "attempt") if row.attempts > 1 else "",
        f"covers {counted(row.coalesced, 'other')}" if row.coalesced else "",
        f"next attempt in {age(now, due)}" if due > now else "",
        _reason(row),
    )
    return printable("; ".join(filter(None, parts)))


def _reason(row: DeliveryRow) -> str:
    if row.state is DeliveryState.DELIVERED:
        return ""  # the provider's answer is of no interest
    return row.lane_reason if row.blocked else row.reason


def delivery_json(row: DeliveryRow, lanes: LaneNames) -> dict[str, Any]:
    """Return a delivery as JSON."""
    delivery = row.delivery
    return {
        "id": row.id,
        "incident": row.incident_id,
        "state": state_of(row),
        "operation": str(delivery.operation),
        "service": lanes.name_of(delivery.ref),
        "correlation_key": delivery.ref.correlation_key,
        "alert": {"scope": delivery.alert.scope, "key": delivery.alert.key},
        "severity": str(delivery.severity),
        "rules": list(delivery.rules),
        "accepted_at": iso(row.accepted_at),
        "next_attempt_at": iso(row.next_try),
        "finished_at": iso(row.finished_at),
        "attempts": row.attempts,
        "coalesced": row.coalesced,
        "outcome": None if row.outcome is None else str(row.outcome),
        "reason": _reason(row),
    }


def _unsent_json(unsent: Unsent) -> dict[str, Any]:
    return {
        "id": None,
        "submission_id": unsent.submission_id,
        "state": str(unsent.outcome),
        "alert": {"scope": unsent.alert.scope, "key": unsent.alert.key},
        "accepted_at": iso(unsent.accepted_at),
        "reason": "; ".join(unsent.note.reasons),
    }


def _counts(admin: Admin) -> str:
    """Count the deliveries that are unfinished or failed, in one line."""
    if not admin.exists:
        return "No alert was accepted yet."
    blocked, by_state = admin.unsettled()
    counts = {str(state): count for state, count in by_state.items()}
    counts[QUEUED] = counts.get(QUEUED, 0) - blocked
    counts[BLOCKED] = blocked
    parts = [f"{counts[each]:,} {each}" for each in STATES if counts.get(each)]
    if pending := admin.backlog().pending:
        parts.append(f"{pending:,} still to be planned")
    return ", ".join(parts) or "Nothing is queued."


def _is_unattended(admin: Admin) -> bool:
    """Check whether something is queued and no process delivers it."""
    if not admin.exists:
        return False
    backlog = admin.backlog()
    return bool(backlog.queued or backlog.pending) and not admin.is_worked_on()


class Changes:
    """Finds the deliveries and submissions that changed since the last query."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[object, ...]] = {}
        self._unsent: set[str] = set()

    def among(self, rows: Sequence[DeliveryRow]) -> Iterator[DeliveryRow]:
        """Yield the deliveries that are new or changed, oldest first."""
        before = self._seen
        self._seen = {each.id: (state_of(each), each.attempts) for each in rows}
        yield from (each for each in reversed(rows) if before.get(each.id) != self._seen[each.id])

    def among_unsent(self, unsent: Sequence[Unsent]) -> Iterator[Unsent]:
        """Yield the submissions that are new, oldest first."""
        before = self._unsent
        self._unsent = {each.submission_id for each in unsent}
        yield from (each for each in reversed(unsent) if each.submission_id not in before)


@click.command(short_help="Retry failed deliveries.")
@with_config
@click.option("--all", "everything", is_flag=True, help="Retry all but the uncertain ones.")
@click.option("--as-is", is_flag=True, help="Send again as planned, even if the problem is over.")
@with_timeout
@click.argument("ids", metavar="[ID]...", type=int, nargs=-1)
@report_errors
@example("alerthost replay 12")
def replay(
    path: Path, *, everything: bool, as_is: bool, timeout: float, ids: tuple[int, ...]
) -> None:
    """Retry deliveries that are rejected, dead, orphaned or uncertain.

    Each is planned again with the current rules, and is not sent if its problem is over. With
    --all, uncertain deliveries are left out: sent again, they may arrive twice.
    """
    if everything == bool(ids):
        refuse("ID", "give the ids to replay, or --all; `alerthost deliveries` lists them")
    source = ConfigFile.read(path)
    loaded = configuration.load(source)
    screen = Screen()
    with open_session(source, loaded, screen) as session:
        admin = session.engine.admin
        retried = [each for each in GIVEN_UP if each != DeliveryState.UNCERTAIN]
        numbers = ids or admin.numbers([DeliveryState(each) for each in retried])
        with screen.progress("replaying", len(numbers)) as advance:
            tracker = session.tracker(advance=advance)
            for number in itertools.takewhile(lambda _: not session.interrupts.count, numbers):
                _replay(admin, number, tracker, as_is=as_is)
                session.make_room(tracker, _MOST_REPLAYED)
            session.wait(tracker, timeout)
            session.finish(tracker)
    conclude(tracker.tally, screen, "replay")


def _replay(admin: Admin, number: int, tracker: Tracker, *, as_is: bool) -> None:
    from alerthost.outbox.admin_rows import AdminError  # noqa: PLC0415 -- slow to import

    place = f"delivery {number}"
    try:
        alert = admin.delivery(number).delivery.alert
        submission_id = admin.replay(number, as_is=as_is)
    except AdminError as error:
        tracker.reject(str(error))
        return
    if submission_id is None:
        tracker.add(Tracked.idle(place, alert.key, "its problem is over"))
    else:
        tracker.add(Tracked.accepted(place, alert.key, submission_id))


@click.command(short_help="Discard queued or failed deliveries.")
@with_config
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@report_errors
@example("alerthost discard 12")
def discard(path: Path, ids: tuple[str, ...]) -> None:
    """Discard queued and failed deliveries, without sending anything to their providers.

    Also discards submissions that failed or are dead, by their submission_id (see
    `alerthost deliveries --json`).
    """
    from alerthost.outbox.admin_rows import AdminError  # noqa: PLC0415 -- slow to import

    screen = Screen()
    success = True
    with open_store(path) as view:
        for name in ids:
            try:
                if name.isdecimal():
                    view.admin.discard_delivery(int(name))
                    screen.print(f"discarded delivery {name}", "green")
                else:
                    before = view.admin.discard_submission(name)
                    screen.print(f"discarded submission {name}, which was {before}", "green")
            except AdminError as error:
                success = False
                screen.print_error(printable(str(error)))
    screen.exit(success=success)
