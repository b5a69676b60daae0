"""Puts deliveries in the line of their incident, and keeps the line short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs
import sqlalchemy as sa

from hostspec.action import AnyAction
from hostspec.delivery import ledger, observing, sharing
from hostspec.delivery import line as line_of
from hostspec.delivery.line import Line, Waiting
from hostspec.delivery.verdict import DeliveryState, Episode
from hostspec.incident import Delivery, Operation, Place

ELSEWHERE: Final = "another delivery says what it would have said"
UNTOLD: Final = "its problem was over before it could be told"
"""Why deliveries are spared."""

ANEW: Final = "sent ahead of what fires anew, in case what was sent before arrived late"
"""Why a resolve is not sent later, for a person."""

SETTLE: Final = 60.0
"""Seconds after which an incident that was in doubt is resolved once more: whatever was on its
way has arrived by then."""

IN_DOUBT: Final = "sent once more, in case what was sent before arrives late and opens it again"
"""Why a resolve is sent once more, for a person."""

Actions = Mapping[str, AnyAction]
"""The actions that send, by name."""


def enqueue(
    connection: sa.Connection, actions: Actions, new: Waiting, statement_id: str, now: float
) -> None:
    """Put a delivery in the line of its incident, which it may open.

    Args:
        connection: of the transaction.
        actions: by name, with their capabilities.
        new: what comes.
        statement_id: of its statement.
        now: the time.
    """
    delivery = new.delivery
    found = ledger.incident_at(connection, delivery.place)
    if found is None:
        found = ledger.open_incident(connection, delivery, now, new.summary)
        waiting: tuple[Waiting, ...] = ()
        flying = False
    else:
        if delivery.operation is Operation.TRIGGER:
            new = attrs.evolve(new, repeat=_changes_nothing(connection, found, delivery))
            _repeat(connection, found, new, now)
            ledger.hasten(connection, found.id, now, ANEW)
        elif delivery.operation is Operation.RESOLVE:
            # firing again while the resolve waits, its alert holds the incident anew
            ledger.release(connection, found.id, delivery.alert, now)
        waiting, flying = ledger.waiting(connection, found.id)
    line = (*waiting, new)
    _write(connection, actions, found, line, statement_id=statement_id, now=now, flying=flying)


def enqueue_repeats(
    connection: sa.Connection,
    actions: Actions,
    repeats: Sequence[tuple[Waiting, str]],
    now: float,
) -> None:
    """Enqueue triggers of one incident, each superseded by the last.

    It comes to the same as to put them in one by one, for an action that collapses: each is
    collapsed by the next.

    Args:
        connection: of the transaction.
        actions: by name, with their capabilities.
        repeats: the triggers of one alert at one place, with the ids of their submissions; they
            have the same rules and follow-ups.
        now: the time.
    """
    *earlier, (last, statement_id) = repeats
    if earlier:
        first = ledger.incident_at(connection, last.delivery.place) or ledger.open_incident(
            connection, last.delivery, now, last.summary
        )
        observing.collapse_new(connection, first, earlier, ELSEWHERE, now)
    oldest = min(each.accepted_at for each, _ in repeats)
    speaker = attrs.evolve(last, collapsed=len(earlier), accepted_at=oldest)
    enqueue(connection, actions, speaker, statement_id, now)


def reduce(
    connection: sa.Connection,
    actions: Actions,
    stored: ledger.StoredIncident,
    episode: Episode,
    now: float,
) -> None:
    """Reduce the line of an incident once more: what was being sent is back in it, or gone.

    Args:
        connection: of the transaction.
        actions: by name, with their capabilities.
        stored: the incident.
        episode: what is known of it now.
        now: the time.
    """
    waiting, flying = ledger.waiting(connection, stored.id)
    if not waiting or flying or stored.incident.place.action not in actions:
        return
    changed = attrs.evolve(stored, episode=episode)
    asked = ledger.statement_of(connection, waiting[-1])
    _write(connection, actions, changed, waiting, statement_id=asked, now=now, flying=False)


def may_repeat(actions: Actions, place: Place) -> bool:
    """Say whether what may have arrived at a place may be sent there once more."""
    action = actions.get(place.action)
    return action is None or action.capabilities.idempotent


def is_record(actions: Actions, place: Place) -> bool:
    """Return whether deliveries to a place are records, which open no incident."""
    action = actions.get(place.action)
    return action is not None and action.capabilities.record


def end(  # noqa: PLR0913 -- one argument for each thing that matters
    connection: sa.Connection,
    actions: Actions,
    stored: ledger.StoredIncident,
    episode: Episode,
    now: float,
    *,
    again: bool,
) -> None:
    """End an incident that nothing waits for, unless it may be open.

    Args:
        connection: of the transaction.
        actions: say what may be sent again.
        stored: the incident.
        episode: what is known of it now.
        now: the time.
        again: resolve it once more first, where something is in doubt.
    """
    if episode.may_be_open:
        return
    closing = None
    if again and episode.in_doubt and may_repeat(actions, stored.incident.place):
        closing = ledger.newest(connection, stored.id, Operation.RESOLVE)
    if closing is None:
        ledger.close_incident(connection, stored.id, now)
    else:
        resolve_again(connection, stored, closing, now)


def resolve_again(
    connection: sa.Connection,
    stored: ledger.StoredIncident,
    delivery: Delivery,
    now: float,
    *,
    flying: bool = False,
) -> None:
    """Resolve an incident once more, when whatever was on its way has arrived."""
    line = [Waiting(delivery, accepted_at=now)]
    due = now + SETTLE
    ledger.write_line(
        connection, stored, line, ledger.SETTLING, now, flying=flying, due=due, reason=IN_DOUBT
    )


def _write(  # noqa: PLR0913 -- one argument for each thing a line is made of
    connection: sa.Connection,
    actions: Actions,
    stored: ledger.StoredIncident,
    waiting: tuple[Waiting, ...],
    *,
    statement_id: str,
    now: float,
    flying: bool,
) -> None:
    action = actions.get(stored.incident.place.action)
    if action is None:  # what another one recorded instead; who sends it says what is wrong
        line = Line(waiting)
    else:
        line = line_of.reduce(waiting, stored.episode, action, flying=flying)
    for left, state, reason in (
        (line.collapsed, DeliveryState.COLLAPSED, ELSEWHERE),
        (line.dropped, DeliveryState.DROPPED, UNTOLD),
    ):
        for each in left:
            number = each.id or ledger.add(connection, stored, each, statement_id, now)
            observing.drop(connection, number, state, reason, now)
    ledger.write_line(connection, stored, line.kept, statement_id, now, flying=flying)
    for each in line.elsewhere:
        sharing.lock(connection, [each.delivery.place])
        enqueue(connection, actions, each, statement_id, now)
    if not line.kept and not flying and not stored.episode.may_be_open:
        ledger.close_incident(connection, stored.id, now)


def _changes_nothing(
    connection: sa.Connection, found: ledger.StoredIncident, delivery: Delivery
) -> bool:
    """Return whether a trigger is the same as the last one of the present episode."""
    if not found.episode.told:
        return False
    rows = ledger.rows_waiting(connection, found.id)
    if any(row.operation == Operation.RESOLVE or row.holder is not None for row in rows):
        return False
    taken = ledger.newest_taken(connection, [found.id])
    return is_same(taken.get(found.id), delivery)


def is_same(taken: Delivery | None, delivery: Delivery) -> bool:
    """Return whether a trigger is the same as the last one that the provider took."""
    told = (taken.severity, taken.message) if taken else None
    return told == (delivery.severity, delivery.message)


def _repeat(
    connection: sa.Connection, found: ledger.StoredIncident, new: Waiting, now: float
) -> None:
    """Add the alert, rules, severity and summary of a trigger to the incident."""
    ledger.hold(connection, found.id, new.delivery.alert, now)
    ledger.update_incidents(connection, {found.id: after_trigger(found, new)}, now)


def after_trigger(found: ledger.StoredIncident, new: Waiting) -> Mapping[str, object]:
    """Return the rules, severity and summary of an incident after one more trigger."""
    incident, delivery = found.incident, new.delivery
    return {
        "severity": delivery.severity,
        "rules": ledger.as_json((*incident.rules, *delivery.rules)),
        "follow_ups": ledger.as_json((*incident.follow_ups, *delivery.follow_ups)),
        "summary": ledger.bounded(new.summary) or found.summary,
    }
