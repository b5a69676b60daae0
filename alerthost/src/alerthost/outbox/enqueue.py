"""Puts deliveries in the line of their incident, and keeps the line short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs
import sqlalchemy as sa

from alerthost.outbox import backend, notifier, repository
from alerthost.outbox import coalescing as line_of
from alerthost.outbox.coalescing import Line, Waiting
from alerthost.outbox.retry_policy import DeliveryState, Episode
from hostspec.action import AnyAction
from hostspec.delivery import Delivery, IncidentRef, Operation

ELSEWHERE: Final = "another delivery says what it would have said"
UNTOLD: Final = "its problem was over before it could be told"
"""Why deliveries are superseded."""

ANEW: Final = "sent ahead of what fires again, in case what was sent before arrived late"
"""Why a resolve is not sent later, for a person."""

SETTLE: Final = 60.0
"""Seconds after which an incident that was in doubt is resolved again: whatever was on its
way has arrived by then."""

IN_DOUBT: Final = "sent again, in case what was sent before arrives late and opens it again"
"""Why a resolve is sent again, for a person."""

Actions = Mapping[str, AnyAction]
"""The actions that send, by name."""


def enqueue(
    connection: sa.Connection, actions: Actions, new: Waiting, submission_id: str, now: float
) -> None:
    """Put a delivery in the line of its incident, which it may open.

    Args:
        connection: of the transaction.
        actions: by name, with their capabilities.
        new: what comes.
        submission_id: of its statement.
        now: the time.
    """
    delivery = new.delivery
    found = repository.incident_at(connection, delivery.ref)
    if found is None:
        found = repository.open_incident(connection, delivery, now, new.summary)
        waiting: tuple[Waiting, ...] = ()
        flying = False
    else:
        if delivery.operation is Operation.TRIGGER:
            new = attrs.evolve(new, repeat=_changes_nothing(connection, found, delivery))
            _repeat(connection, found, new, now)
            repository.hasten(connection, found.id, now, ANEW)
        elif delivery.operation is Operation.RESOLVE:
            # firing again while the resolve waits, its alert holds the incident again
            repository.release(connection, found.id, delivery.alert, now)
        waiting, flying = repository.waiting(connection, found.id)
    line = (*waiting, new)
    _write(connection, actions, found, line, submission_id=submission_id, now=now, flying=flying)


def enqueue_repeats(
    connection: sa.Connection,
    actions: Actions,
    repeats: Sequence[tuple[Waiting, str]],
    now: float,
) -> None:
    """Enqueue triggers of one incident, each superseded by the last.

    It comes to the same as to put them in one by one, for an action that coalesces: each is
    coalesced by the next.

    Args:
        connection: of the transaction.
        actions: by name, with their capabilities.
        repeats: the triggers of one alert at one place, with the ids of their submissions; they
            have the same rules and follow-ups.
        now: the time.
    """
    *earlier, (last, submission_id) = repeats
    if earlier:
        first = repository.incident_at(connection, last.delivery.ref) or repository.open_incident(
            connection, last.delivery, now, last.summary
        )
        notifier.coalesce_new(connection, first, earlier, ELSEWHERE, now)
    oldest = min(each.accepted_at for each, _ in repeats)
    speaker = attrs.evolve(last, coalesced=len(earlier), accepted_at=oldest)
    enqueue(connection, actions, speaker, submission_id, now)


def reduce(
    connection: sa.Connection,
    actions: Actions,
    stored: repository.StoredIncident,
    episode: Episode,
    now: float,
) -> None:
    """Reduce the line of an incident again: what was being sent is back in it, or gone.

    Args:
        connection: of the transaction.
        actions: by name, with their capabilities.
        stored: the incident.
        episode: what is known of it now.
        now: the time.
    """
    waiting, flying = repository.waiting(connection, stored.id)
    if not waiting or flying or stored.incident.ref.action not in actions:
        return
    changed = attrs.evolve(stored, episode=episode)
    asked = repository.statement_of(connection, waiting[-1])
    _write(connection, actions, changed, waiting, submission_id=asked, now=now, flying=False)


def may_repeat(actions: Actions, ref: IncidentRef) -> bool:
    """Check whether what may have arrived at a place may be sent there again."""
    action = actions.get(ref.action)
    return action is None or action.capabilities.idempotent


def is_record(actions: Actions, ref: IncidentRef) -> bool:
    """Return whether deliveries to a place are records, which open no incident."""
    action = actions.get(ref.action)
    return action is not None and action.capabilities.record


def end(  # noqa: PLR0913 -- one argument for each thing that matters
    connection: sa.Connection,
    actions: Actions,
    stored: repository.StoredIncident,
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
        again: resolve it again first, where something is in doubt.
    """
    if episode.may_be_open:
        return
    closing = None
    if again and episode.in_doubt and may_repeat(actions, stored.incident.ref):
        closing = repository.newest(connection, stored.id, Operation.RESOLVE)
    if closing is None:
        repository.close_incident(connection, stored.id, now)
    else:
        resolve_again(connection, stored, closing, now)


def resolve_again(
    connection: sa.Connection,
    stored: repository.StoredIncident,
    delivery: Delivery,
    now: float,
    *,
    flying: bool = False,
) -> None:
    """Resolve an incident again, when whatever was on its way has arrived."""
    line = [Waiting(delivery, accepted_at=now)]
    due = now + SETTLE
    repository.write_line(
        connection, stored, line, repository.SETTLING, now, flying=flying, due=due, reason=IN_DOUBT
    )


def _write(  # noqa: PLR0913 -- one argument for each thing a line is made of
    connection: sa.Connection,
    actions: Actions,
    stored: repository.StoredIncident,
    waiting: tuple[Waiting, ...],
    *,
    submission_id: str,
    now: float,
    flying: bool,
) -> None:
    action = actions.get(stored.incident.ref.action)
    if action is None:  # what another one recorded instead; who sends it says what is wrong
        line = Line(waiting)
    else:
        line = line_of.reduce(waiting, stored.episode, action, flying=flying)
    for left, state, reason in (
        (line.coalesced, DeliveryState.COLLAPSED, ELSEWHERE),
        (line.dropped, DeliveryState.DROPPED, UNTOLD),
    ):
        for each in left:
            number = each.id or repository.add(connection, stored, each, submission_id, now)
            notifier.drop(connection, number, state, reason, now)
    repository.write_line(connection, stored, line.kept, submission_id, now, flying=flying)
    for each in line.elsewhere:
        backend.lock(connection, [each.delivery.ref])
        enqueue(connection, actions, each, submission_id, now)
    if not line.kept and not flying and not stored.episode.may_be_open:
        repository.close_incident(connection, stored.id, now)


def _changes_nothing(
    connection: sa.Connection, found: repository.StoredIncident, delivery: Delivery
) -> bool:
    """Return whether a trigger is the same as the last one of the present episode."""
    if not found.episode.trigger_delivered:
        return False
    rows = repository.rows_waiting(connection, found.id)
    if any(row.operation == Operation.RESOLVE or row.worker_id is not None for row in rows):
        return False
    taken = repository.newest_taken(connection, [found.id])
    return is_same(taken.get(found.id), delivery)


def is_same(taken: Delivery | None, delivery: Delivery) -> bool:
    """Return whether a trigger is the same as the last one that the provider took."""
    told = (taken.severity, taken.message) if taken else None
    return told == (delivery.severity, delivery.message)


def _repeat(
    connection: sa.Connection, found: repository.StoredIncident, new: Waiting, now: float
) -> None:
    """Add the alert, rules, severity and summary of a trigger to the incident."""
    repository.hold(connection, found.id, new.delivery.alert, now)
    repository.update_incidents(connection, {found.id: after_trigger(found, new)}, now)


def after_trigger(found: repository.StoredIncident, new: Waiting) -> Mapping[str, object]:
    """Return the rules, severity and summary of an incident after one more trigger."""
    incident, delivery = found.incident, new.delivery
    return {
        "severity": delivery.severity,
        "rules": repository.as_json((*incident.rules, *delivery.rules)),
        "follow_ups": repository.as_json((*incident.follow_ups, *delivery.follow_ups)),
        "summary": repository.bounded(new.summary) or found.summary,
    }
