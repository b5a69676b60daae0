"""Deliveries as an operator sees them: which there are, as rows and as JSON."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from alerthost.cli.ages import age, iso
from alerthost.cli.screen import printable
from alerthost.config.destinations import LaneNames
from hostspec.demo import Table

if TYPE_CHECKING:
    from alerthost.outbox.admin import Admin
    from alerthost.outbox.admin_rows import DeliveryRow, Unsent

BLOCKED: Final = "blocked"
GIVEN_UP: Final = ("dead", "rejected", "uncertain", "orphaned")
DONE: Final = ("delivered", "coalesced", "discarded")
UNSENT: Final = ("unmatched", "outdated", "suppressed", "failed", "dead", "discarded")
"""Why a submission came to no delivery, or to fewer than its rules ask for."""

STATES: Final = tuple(dict.fromkeys(("queued", BLOCKED, *GIVEN_UP, *DONE, *UNSENT)))
"""What a delivery or a submission may be, in the words of the commands."""

RECENT: Final = 20
"""Finished deliveries that are shown beside those that somebody should look at."""

_COLUMNS: Final = ("id", "state", "what", "service", "alert", "age", "why")


def find(admin: Admin, states: Sequence[str], most: int) -> tuple[DeliveryRow, ...]:
    """Find deliveries, the newest first.

    Args:
        admin: where they are.
        states: of `STATES`; empty for those that are not done with, and the most recent others.
        most: of each kind.

    Raises:
        StoreError: the store cannot be read.
    """
    from alerthost.outbox.retry_policy import DeliveryState  # noqa: PLC0415 -- as heavy as the engine

    if not states:
        recent = admin.deliveries([DeliveryState(each) for each in DONE], most=min(most, RECENT))
        return _newest_first(find(admin, ("queued", BLOCKED, *GIVEN_UP), most), recent)
    found: list[Sequence[DeliveryRow]] = []
    finished = [DeliveryState(each) for each in states if each in (*GIVEN_UP, *DONE)]
    if finished:
        found.append(admin.deliveries(finished, most=most))
    for state, held in (("queued", False), (BLOCKED, True)):
        if state in states:
            found.append(admin.deliveries([DeliveryState.QUEUED], held=held, most=most))
    return _newest_first(*found)


def find_unsent(admin: Admin, states: Sequence[str], most: int) -> tuple[Unsent, ...]:
    """Find submissions that came to no delivery, the newest first.

    Args:
        admin: where they are.
        states: of `STATES`; empty for the most recent that failed or are dead-lettered.
        most: of each state.

    Raises:
        StoreError: the store cannot be read.
    """
    from alerthost.outbox.submission import SubmissionOutcome  # noqa: PLC0415 -- as above

    if not states:
        return find_unsent(admin, ("failed", "dead"), min(most, RECENT))
    found = (admin.unsent(SubmissionOutcome(each), most=most) for each in UNSENT if each in states)
    return tuple(sorted(itertools.chain(*found), key=lambda each: -each.accepted_at))


def _newest_first(*several: Iterable[DeliveryRow]) -> tuple[DeliveryRow, ...]:
    found = {entry.id: entry for entry in itertools.chain(*several)}
    return tuple(found[number] for number in sorted(found, reverse=True))


def state_of(entry: DeliveryRow) -> str:
    """Return the one word for how a delivery stands."""
    if entry.sending:
        return "in flight"
    return BLOCKED if entry.held else str(entry.state)


def table(
    entries: Iterable[DeliveryRow], unsent: Iterable[Unsent], lanes: LaneNames, now: float
) -> Table:
    """Make a table of deliveries, and of submissions that came to none."""
    rows = (row(entry, lanes, now) for entry in entries)
    return Table("Deliveries", _COLUMNS, (*rows, *(unsent_row(each, now) for each in unsent)))


def unsent_row(unsent: Unsent, now: float) -> tuple[str, ...]:
    """Make one row of the table, of a submission; it has no number of a delivery."""
    why = printable("; ".join(unsent.note.reasons))
    alert = printable(str(unsent.alert))
    return ("", str(unsent.outcome), "", "", alert, age(unsent.accepted_at, now), why)


def row(entry: DeliveryRow, lanes: LaneNames, now: float) -> tuple[str, ...]:
    """Make one row of the table."""
    delivery = entry.delivery
    told = (lanes.name_of(delivery.ref), str(delivery.alert))
    what = str(delivery.operation)
    where = map(printable, told)
    return (
        str(entry.id),
        state_of(entry),
        what,
        *where,
        age(entry.accepted_at, now),
        _why(entry, now),
    )


def _why(entry: DeliveryRow, now: float) -> str:
    due = entry.next_try or now
    again = f"tried again in {age(now, due)}" if due > now else ""
    reason = _reason(entry)
    tries = f"{entry.attempts} attempts" if entry.attempts > 1 else ""
    others = f"stands for {entry.coalesced} others" if entry.coalesced else ""
    return printable("; ".join(filter(None, (tries, others, again, reason))))


def _reason(entry: DeliveryRow) -> str:
    if str(entry.state) == "delivered":
        return ""  # what the provider says then is of no use to anybody
    return entry.lane_reason if entry.held else entry.reason


def as_json(entry: DeliveryRow, lanes: LaneNames) -> dict[str, Any]:
    """Return a delivery for machines."""
    delivery = entry.delivery
    return {
        "id": entry.id,
        "incident": entry.incident_id,
        "state": state_of(entry),
        "operation": str(delivery.operation),
        "service": lanes.name_of(delivery.ref),
        "correlation_key": delivery.ref.correlation_key,
        "alert": {"scope": delivery.alert.scope, "key": delivery.alert.key},
        "severity": str(delivery.severity),
        "rules": list(delivery.rules),
        "accepted_at": iso(entry.accepted_at),
        "next_attempt_at": iso(entry.next_try),
        "finished_at": iso(entry.finished_at),
        "attempts": entry.attempts,
        "coalesced": entry.coalesced,
        "outcome": None if entry.outcome is None else str(entry.outcome),
        "reason": _reason(entry),
    }


def unsent_as_json(unsent: Unsent) -> dict[str, Any]:
    """Return a submission that came to no delivery, for machines."""
    return {
        "id": None,
        "submission_id": unsent.submission_id,
        "state": str(unsent.outcome),
        "alert": {"scope": unsent.alert.scope, "key": unsent.alert.key},
        "accepted_at": iso(unsent.accepted_at),
        "reason": "; ".join(unsent.note.reasons),
    }


def counts(admin: Admin) -> str:
    """Say in a line how many deliveries are not done with.

    Raises:
        StoreError: the store cannot be read.
    """
    held, by_state = admin.unsettled()
    told = {str(state): count for state, count in by_state.items()}
    told["queued"] = told.get("queued", 0) - held
    told[BLOCKED] = held
    words = (f"{told[each]} {each}" for each in STATES if told.get(each))
    unplanned = admin.backlog().unplanned
    still = (f"{unplanned} still to be planned",) if unplanned else ()
    return ", ".join((*words, *still)) or "Nothing waits."


def is_left_alone(admin: Admin) -> bool:
    """Return whether something is queued and no process works on it.

    Raises:
        StoreError: the store cannot be read.
    """
    backlog = admin.backlog()
    return bool(backlog.waiting or backlog.unplanned) and not admin.is_worked_on()


class Changes:
    """Says which deliveries and submissions changed between two looks."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[object, ...]] = {}
        self._unsent: set[str] = set()

    def among(self, entries: Sequence[DeliveryRow]) -> Iterator[DeliveryRow]:
        """Return those that are new or changed since the last look, the oldest first."""
        before = self._seen
        self._seen = {each.id: (state_of(each), each.attempts) for each in entries}
        for entry in reversed(entries):
            if before.get(entry.id) != self._seen[entry.id]:
                yield entry

    def among_unsent(self, unsent: Sequence[Unsent]) -> Iterator[Unsent]:
        """Yield the submissions that are new since the last look, the oldest first."""
        before = self._unsent
        self._unsent = {each.submission_id for each in unsent}
        yield from (each for each in reversed(unsent) if each.submission_id not in before)
