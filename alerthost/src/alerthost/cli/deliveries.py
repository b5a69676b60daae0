"""``alerthost deliveries``, ``replay`` and ``discard``: lists, retries and discards deliveries."""

from __future__ import annotations

import contextlib
import functools
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from alerthost.cli.options import command, with_config, with_json, with_most, with_timeout
from alerthost.cli.output import Screen, age, counted, iso
from alerthost.cli.session import StoreView, change_each, conclude, open_session, open_store
from alerthost.cli.tracked import GOOD, QUEUED
from alerthost.config import configuration
from alerthost.config.document import ConfigFile, refuse
from alerthost.config.plugins import LaneNames
from alerthost.config.states import BLOCKED, delivery_reason, delivery_state
from alerthost.outbox.retry_policy import GIVEN_UP, DeliveryState
from alerthost.outbox.submission import OVER, SubmissionOutcome
from hostspec.provider import Table

if TYPE_CHECKING:
    from alerthost.outbox.admin import Admin
    from alerthost.outbox.admin_rows import DeliveryRow, Unsent

STATES: Final = tuple(
    dict.fromkeys(map(str, (QUEUED, BLOCKED, *GIVEN_UP, *GOOD, *SubmissionOutcome)))
)

REFRESH: Final = 1.0
"""Seconds between two queries of `deliveries --watch`."""

_RECENT: Final = 20
"""Finished deliveries that are listed beside those that need the operator."""

_MOST_REPLAYED: Final = 1000
"""Replayed deliveries that are tracked at once."""

_WATCH_WIDTHS: Final = (6, 10, 11, 16, 20, 6)
_COLUMNS: Final = ("id", "state", "operation", "service", "alert", "age", "details")


@command(
    "List queued, failed and recent deliveries.",
    example="alerthost deliveries --state rejected --state dead",
)
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
def deliveries(
    path: Path, *, states: tuple[str, ...], most: int, watch: bool, as_json: bool
) -> None:
    """List deliveries: all that are queued or have failed, and the most recent others.

    A blocked delivery waits until the operator fixes the problem in the last column. Alerts
    that could not be planned are listed too. Alerts that match no rule, have no open incident,
    are outdated, or were suppressed by a plugin are listed with --state only.
    """
    screen = Screen()
    with open_store(path) as view:
        find = functools.partial(_find, view, states, most)
        if watch:
            _watch(find, view.admin, screen, as_json=as_json)
        elif as_json:
            screen.print_json([each.json for each in find()])
        else:
            _list(find(), view.admin, screen)
    screen.exit(success=True)


@attrs.frozen
class Item:
    """A delivery, or a submission without one, as it is listed.

    Attributes:
        id: of the delivery or the submission.
        version: a change is shown by `deliveries --watch`.
        cells: of its row in the table.
        json: its JSON form.
    """

    id: int | str
    version: object
    cells: tuple[str, ...]
    json: dict[str, Any]


def _list(items: Sequence[Item], admin: Admin, screen: Screen) -> None:
    if items:
        screen.table(_table(items))
    screen.print(_counts(admin), "bold")
    if _is_unattended(admin):
        screen.note(
            "no process delivers the queued alerts; run `alerthost run` or `alerthost send`"
        )


def _watch(
    find: Callable[[], Sequence[Item]], admin: Admin, screen: Screen, *, as_json: bool
) -> None:
    seen: dict[int | str, object] = {}
    with contextlib.suppress(KeyboardInterrupt), screen.live() as live:
        while not screen.is_broken:
            items = find()
            if live is not None and not as_json:
                live(_table(items), _counts(admin))
            else:
                for each in reversed(items):
                    if seen.get(each.id) == each.version:
                        continue
                    if as_json:
                        screen.print_json(each.json)
                    else:
                        number, *others = each.cells
                        screen.row((number.rjust(6), *others), _WATCH_WIDTHS)
            seen = {each.id: each.version for each in items}
            time.sleep(REFRESH)


def _table(items: Sequence[Item]) -> Table:
    return Table("Deliveries", _COLUMNS, tuple(each.cells for each in items))


def _find(view: StoreView, states: Sequence[str], most: int) -> list[Item]:
    """Find deliveries, then submissions without any, both newest first."""
    if not view.admin.exists:
        return []
    now = time.time()
    rows = {row.id: row for row in _find_deliveries(view.admin, states, most)}
    unsent = _find_unsent(view.admin, states, most)
    return [
        *(_delivery_item(rows[number], view.lanes, now) for number in sorted(rows, reverse=True)),
        *(_unsent_item(each, now) for each in sorted(unsent, key=lambda each: -each.accepted_at)),
    ]


def _find_deliveries(admin: Admin, states: Sequence[str], most: int) -> Iterator[DeliveryRow]:
    """Find deliveries; without `states`, unfinished, failed and recent ones."""
    if not states:
        yield from admin.deliveries(GOOD, most=min(most, _RECENT))
        states = (QUEUED, BLOCKED, *GIVEN_UP)
    if finished := [each for each in (*GIVEN_UP, *GOOD) if each in states]:
        yield from admin.deliveries(finished, most=most)
    for state, blocked in ((QUEUED, False), (BLOCKED, True)):
        if state in states:
            yield from admin.deliveries([QUEUED], blocked=blocked, most=most)


def _find_unsent(admin: Admin, states: Sequence[str], most: int) -> Iterator[Unsent]:
    """Find submissions without a delivery; without `states`, the failed and dead ones."""
    if not states:
        states = (SubmissionOutcome.FAILED, SubmissionOutcome.DEAD)
        most = min(most, _RECENT)
    for each in SubmissionOutcome:
        if each in states:
            yield from admin.unsent(each, most=most)


def _delivery_item(row: DeliveryRow, lanes: LaneNames, now: float) -> Item:
    due = row.next_try or now
    details = (
        counted(row.attempts, "attempt") if row.attempts > 1 else "",
        f"covers {counted(row.coalesced, 'other')}" if row.coalesced else "",
        f"next attempt in {age(now, due)}" if due > now else "",
        delivery_reason(row),
    )
    cells = (
        str(row.id),
        delivery_state(row),
        str(row.delivery.operation),
        lanes.name_of(row.delivery.ref),
        str(row.delivery.alert),
        age(row.accepted_at, now),
        "; ".join(filter(None, details)),
    )
    return Item(row.id, (delivery_state(row), row.attempts), cells, delivery_json(row, lanes))


def delivery_json(row: DeliveryRow, lanes: LaneNames) -> dict[str, Any]:
    """Return a delivery as JSON."""
    delivery = row.delivery
    return {
        "id": row.id,
        "incident": row.incident_id,
        "state": delivery_state(row),
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
        "attempt_log": [
            {
                "number": each.number,
                "started_at": iso(each.started_at),
                "seconds": each.seconds,
                "outcome": str(each.outcome),
                "reason": each.reason,
            }
            for each in row.log
        ],
        "coalesced": row.coalesced,
        "outcome": None if row.outcome is None else str(row.outcome),
        "reason": delivery_reason(row),
    }


def _unsent_item(unsent: Unsent, now: float) -> Item:
    state, reason = str(unsent.outcome), "; ".join(unsent.note.reasons)
    cells = ("", state, "", "", str(unsent.alert), age(unsent.accepted_at, now), reason)
    json = {
        "id": None,
        "submission_id": unsent.submission_id,
        "state": state,
        "alert": {"scope": unsent.alert.scope, "key": unsent.alert.key},
        "accepted_at": iso(unsent.accepted_at),
        "reason": reason,
    }
    return Item(unsent.submission_id, "", cells, json)


def _counts(admin: Admin) -> str:
    """Count the deliveries that are unfinished or failed, in one line."""
    if not admin.exists:
        return "No alert was accepted yet."
    blocked, by_state = admin.unsettled()
    counts: dict[str, int] = {str(state): count for state, count in by_state.items()}
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


@command("Retry failed deliveries.", example="alerthost replay 12")
@with_config
@click.option("--all", "everything", is_flag=True, help="Retry all but the uncertain ones.")
@click.option("--as-is", is_flag=True, help="Send again as planned, even if the problem is over.")
@with_timeout
@click.argument("ids", metavar="[ID]...", type=int, nargs=-1)
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
        admin, tracker = session.engine.admin, session.tracker

        def operate(number: int) -> tuple[str, str | None]:
            key = admin.delivery(number).delivery.alert.key
            return key, admin.replay(number, as_is=as_is)

        certain = [each for each in GIVEN_UP if each is not DeliveryState.UNCERTAIN]
        numbers = ids or admin.numbers(certain)
        with screen.progress("replaying", len(numbers)) as tracker.advance:
            for number in itertools.takewhile(lambda _: not session.interrupts.count, numbers):
                tracker.operate(number, "delivery", operate, idle=OVER)
                session.make_room(_MOST_REPLAYED)
            session.finish(timeout)
    conclude(tracker.tally, screen, "replay")


@command("Discard queued or failed deliveries.", example="alerthost discard 12")
@with_config
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
def discard(path: Path, ids: tuple[str, ...]) -> None:
    """Discard queued and failed deliveries, without sending anything to their providers.

    Also discards submissions that failed or are dead, by their submission_id (see
    `alerthost deliveries --json`).
    """
    with open_store(path) as view:
        change_each(ids, lambda name: _discard(view.admin, name), Screen())


def _discard(admin: Admin, name: str) -> str:
    if name.isdecimal():
        admin.discard_delivery(int(name))
        return f"discarded delivery {name}"
    before = admin.discard_submission(name)
    return f"discarded submission {name}, which was {before}"
