"""Settles what came of an attempt."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

import attrs
import sqlalchemy as sa

from hostspec.action import Limit
from hostspec.delivery import channels, ledger, lineup, observing, sharing, spending
from hostspec.delivery.claiming import Claim, is_mine, is_urgent, look_at
from hostspec.delivery.line import Waiting
from hostspec.delivery.verdict import DeliveryState, Episode, LaneState, Verdict, judge
from hostspec.delivery.writer import log_afterwards
from hostspec.incident import Operation
from hostspec.outcome import Outcome, OutcomeKind, Receipt
from hostspec.store.tables import deliveries, incidents, lanes

_log = logging.getLogger("hostspec.delivery")

ORPHANED: Final = "the key or address that opened the incident is not configured any more"
"""Why deliveries of an orphaned incident are not sent, for the operator."""


def settle(  # noqa: PLR0913 -- one argument for each thing that matters
    connection: sa.Connection,
    claim: Claim,
    outcome: Outcome,
    now: float,
    *,
    arrived: bool,
    limits: Sequence[Limit],
    actions: lineup.Actions,
) -> None:
    """Write down what an attempt came to; only that it was made, if it was taken over meanwhile.

    Args:
        connection: of the transaction.
        claim: what was sent.
        outcome: what came of it.
        now: the time.
        arrived: it may have arrived.
        limits: what it was sent from, as known now.
        actions: say what may collapse.
    """
    sharing.lock(connection, [claim.delivery.place])
    row = connection.execute(_SETTLED, {"number": claim.id}).first()
    if row is None:
        return
    stored = ledger.stored_of(row)
    operation = claim.delivery.operation
    if row.holder != claim.holder or row.attempts != claim.attempt:
        if arrived and lineup.may_repeat(actions, claim.delivery.place):
            handle = _handle_of(claim, outcome)
            _note_late(connection, row, claim, handle, now)
        return
    delivered = outcome.delivered
    settling = claim.statement_id == ledger.SETTLING and operation is Operation.RESOLVE
    episode = stored.episode.after(operation, delivered=delivered, may_have_arrived=arrived)
    if lineup.is_record(actions, claim.delivery.place) and not stored.incident.follow_ups:
        episode = Episode()  # nothing is open, and nothing is to be recorded later
    elif settling and delivered:
        episode = attrs.evolve(episode, in_doubt=False)
    known = spending.names_of(limits)
    verdict, since = _judged(connection, claim, outcome, now, known=known)
    spending.account(
        connection,
        limits,
        now,
        urgent=is_urgent(claim.delivery),
        taken=claim.budgets,
        taken_at=claim.claimed_at,
        paused_until=verdict.paused_until,
    )
    told = {"outcome": outcome.kind, "reason": outcome.reason}
    if verdict.state is DeliveryState.WAITING:
        kept = {"holder": None, "lease_until": None, "due": verdict.delivery_due, **told}
        kept |= {"failing_since": since, "strikes": verdict.strikes}
        connection.execute(sa.update(deliveries).where(deliveries.c.id == claim.id), kept)
    else:
        ledger.finish(connection, claim.id, verdict.state, now, **told)
        hook = observing.DELIVERED if delivered else observing.UNDELIVERED
        receipt = Receipt(claim.uid, claim.delivery, outcome, claim.attempt)
        observing.note(connection, hook, receipt, claim.holder)
    handle = row.handle
    if arrived and handle is None:
        handle = _handle_of(claim, outcome)
    elif delivered and operation is Operation.TRIGGER and outcome.handle is not None:
        # what was open was given up (its resolve was refused, say), and another one opened
        handle = ledger.handle_as_json(outcome.handle)
    resolved = operation is Operation.RESOLVE and delivered
    if resolved and not episode.in_doubt:
        handle = None  # the next episode opens under the newest key
    ledger.note_episode(connection, stored.id, episode, now, handle=handle, budgets=known)
    if not delivered:
        lineup.reduce(connection, actions, stored, episode, now)
    waits = ledger.promote(connection, stored.id, now)
    if not waits and (delivered or not settling):  # given up, it leaves the doubt to a person
        lineup.end(connection, actions, stored, episode, now, again=True)


def _judged(
    connection: sa.Connection, claim: Claim, outcome: Outcome, now: float, *, known: str
) -> tuple[Verdict, float]:
    """Decide the next step after an attempt, and record the state of its channel.

    Returns:
        also since when the delivery has failed like this.
    """
    lane = claim.incident.lane_id
    changes = {"budgets": known} if claim.incident.incident.handle is None else {}
    # first of all: the lock of the lane's row, under which its channels are read and written
    connection.execute(sa.update(lanes).where(lanes.c.id == lane), {"due": now, **changes})
    channel = channels.channel(connection, lane, claim.channel)
    same = outcome.kind is claim.last_outcome
    since = claim.failing_since if same else None
    since = claim.claimed_at if since is None else since
    verdict = judge(
        outcome,
        now,
        attempts=claim.attempt,
        failures=channel.failures,
        strikes=claim.strikes if same else 0,
        others_get_through=_others_get_through(channel, claim, outcome, since, now),
    )
    _note_channels(connection, claim, verdict, outcome, now=now, known=known)
    return verdict, since


_SETTLED: Final = (
    sa.select(deliveries.c.holder, deliveries.c.attempts, incidents)
    .join(incidents, incidents.c.id == deliveries.c.incident_id)
    .where(deliveries.c.id == sa.bindparam("number"))
)


def _handle_of(claim: Claim, outcome: Outcome) -> str | None:
    """Give the handle that an attempt was made under, as it is kept; None where nobody knows."""
    handle = claim.incident.incident.handle
    if handle is None:
        handle = outcome.handle
    return claim.promised if handle is None else ledger.handle_as_json(handle)


def _note_late(
    connection: sa.Connection, row: sa.Row[Any], claim: Claim, handle: str | None, now: float
) -> None:
    """Note that an attempt may have arrived that somebody else made once more meanwhile.

    A trigger may have opened what was closed by then: it is resolved once more. Where what is open
    at its place was opened under another key by then, nobody here can close it: it is stranded.
    An incident that is orphaned stays so, and one whose resolve is queued is resolved by that.
    """
    stored = ledger.stored_of(row)
    operation = claim.delivery.operation
    opened = operation is Operation.TRIGGER
    if row.stranded or (not row.active and ledger.rows_waiting(connection, stored.id)):
        episode = stored.episode.after(operation, delivered=False, may_have_arrived=True)
        ledger.note_episode(connection, stored.id, episode, now)
        return
    current = stored if row.active else ledger.incident_at(connection, stored.incident.place)
    if current is None:
        closing = ledger.newest(connection, stored.id, Operation.RESOLVE)
        if not opened or closing is None:
            return
        ledger.reopen_incident(connection, stored.id, now)
        current = stored
    under = _opens_under(connection, current)
    if opened and handle is not None and under not in {None, handle}:
        log_afterwards(
            _log,
            logging.ERROR,
            "the incident %s at %s/%s is orphaned: it was opened late, under a key that another"
            " one is open under by now",
            current.incident.place.correlation_key,
            current.incident.place.installation,
            current.incident.place.destination,
        )
        beside = ledger.open_incident(
            connection, claim.delivery, now, stored.summary, active=False, handle=handle
        )
        ledger.close_incident(connection, beside.id, now, stranded=True)
        return
    episode = current.episode.after(operation, delivered=False, may_have_arrived=True)
    opens = opened and current.incident.handle is None
    budgets = spending.names_of_lane(connection, current.lane_id)
    kept = {"handle": handle, "budgets": budgets} if opens else {}
    ledger.note_episode(connection, current.id, episode, now, **kept)
    held = ledger.incident(connection, current.id)
    waiting, flying = ledger.waiting(connection, current.id)
    closing = ledger.newest(connection, current.id, Operation.RESOLVE)
    if opened and closing is not None and held and not held.incident.holders and not waiting:
        lineup.resolve_again(connection, current, closing, now, flying=flying)


def _opens_under(connection: sa.Connection, stored: ledger.StoredIncident) -> str | None:
    """Give the handle that an incident has, or is being given; None for neither."""
    handle = stored.incident.handle
    if handle is not None:
        return ledger.handle_as_json(handle)
    rows = ledger.rows_waiting(connection, stored.id)
    return next((row.promised for row in rows if row.holder is not None), None)


def strand(connection: sa.Connection, claim: Claim, reason: str, now: float) -> None:
    """Give an incident up whose key is not held any more; what fires still opens anew.

    Args:
        connection: of the transaction.
        claim: the follow-up or repeat that cannot be sent.
        reason: why, for a person.
        now: the time.
    """
    sharing.lock(connection, [claim.delivery.place])
    if not is_mine(connection, claim):
        return
    stored = ledger.incident(connection, claim.incident.id)
    assert stored is not None  # noqa: S101 -- its delivery is there
    outcome = Outcome(OutcomeKind.MISCONFIGURED, reason)
    rows = ledger.rows_waiting(connection, stored.id)
    for row in rows:
        ledger.finish(
            connection,
            row.id,
            DeliveryState.STRANDED,
            now,
            outcome=outcome.kind,
            reason=reason,
        )
        receipt = Receipt(row.uid, ledger.delivery_of(row), outcome, row.attempts)
        observing.note(connection, observing.UNDELIVERED, receipt, claim.holder)
    ledger.close_incident(connection, stored.id, now, stranded=True)
    for row in rows:  # so that later submissions of them find the incident
        ledger.hold(connection, stored.id, ledger.delivery_of(row).alert, now)
    anew = _anew(connection, stored, rows)
    if anew:
        opening = anew[0].delivery
        opened = ledger.open_incident(connection, opening, now, stored.summary)
        for alert in stored.incident.holders:
            ledger.hold(connection, opened.id, alert, now)
        if opening.alert not in stored.incident.holders:
            ledger.release(connection, opened.id, opening.alert, now)
        ledger.write_line(connection, opened, anew, rows[-1].statement_id, now)
    look_at(connection, stored.lane_id, now)


def _anew(
    connection: sa.Connection, stored: ledger.StoredIncident, rows: Sequence[sa.Row[Any]]
) -> tuple[Waiting, ...]:
    """Give what is to be said where an incident opens anew: what fires, or was never told."""
    line = [attrs.evolve(ledger.waiting_of(row), id=None) for row in rows]
    operations = [each.delivery.operation for each in line]
    newest = max((n for n, each in enumerate(operations) if each is Operation.TRIGGER), default=-1)
    # what was told is the episode that a resolve in line ends
    told = stored.episode.told and Operation.RESOLVE not in operations[: max(newest, 0)]
    if newest >= 0 and (stored.incident.holders or not told):
        return tuple(line[newest:])
    opening = ledger.newest(connection, stored.id, Operation.TRIGGER)
    if stored.incident.holders and opening is not None:
        return (Waiting(opening, accepted_at=rows[0].accepted_at),)
    return ()


def _others_get_through(
    channel: channels.Channel, claim: Claim, outcome: Outcome, since: float, now: float
) -> bool:
    """Return whether others show that an attempt failed for the delivery's own sake.

    They do where one got through since it began to fail like this, and none has failed since. What
    keeps a provider from answering passes and comes again: then one has to get through between
    two attempts.
    """
    before = claim.tried_at if outcome.kind is OutcomeKind.UNREACHABLE else since
    return not channel.failures and before < channel.got_through_at <= now


def _note_channels(  # noqa: PLR0913 -- one argument for each thing that is recorded
    connection: sa.Connection,
    claim: Claim,
    verdict: Verdict,
    outcome: Outcome,
    *,
    now: float,
    known: str,
) -> None:
    """Record what an attempt shows of its channel.

    An attempt that opens an incident is evidence of follow-ups from the same budgets, too. One
    that fails under the credential of an open incident is no evidence of the newest credential.
    """
    if verdict.lane is None:
        return
    lane = claim.incident.lane_id
    current = spending.names_of_lane(connection, lane) == known
    action = claim.delivery.place.action
    used, opening = channels.name_of(action, known), channels.name_of(action)
    opens = claim.channel == opening
    if verdict.lane is LaneState.HEALTHY:
        names = {claim.channel, used, *([opening] if current else ())}
        channels.note_success(connection, lane, names, now, delivered=outcome.delivered)
    else:
        channels.note_failure(
            connection,
            lane,
            {claim.channel, used} if opens else {claim.channel},
            now,
            state=verdict.lane,
            reason=outcome.reason,
            due=verdict.lane_due,
            first_due=verdict.first_due,
        )
    if verdict.lane is LaneState.HEALTHY or opens or current:
        state = LaneState.HEALTHY if verdict.lane is LaneState.HEALTHY else LaneState.UNHEALTHY
        connection.execute(sa.update(lanes).where(lanes.c.id == lane), {"state": state})
