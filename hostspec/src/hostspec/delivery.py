"""The incident at a provider, and the deliveries that speak about it."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import attrs

from hostspec.alert import Identity, Severity
from hostspec.normalisation import FrozenDict, Json, Repair, freeze
from hostspec.text import clean_text


class Operation(enum.StrEnum):
    """What a delivery does to its incident."""

    TRIGGER = "trigger"
    """Opens it; sent again while it is open, it is a repeat."""
    ACKNOWLEDGE = "acknowledge"
    """Says that somebody is working on it."""
    RESOLVE = "resolve"
    """Closes it."""
    UPDATE = "update"
    """Tells the open incident something new, for providers whose repeats would open another."""


class IncidentState(enum.StrEnum):
    """How far an incident has come at the provider."""

    TRIGGERED = "triggered"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


FOLLOW_UPS: Final = (Operation.ACKNOWLEDGE, Operation.RESOLVE, Operation.UPDATE)
"""What an incident may be told after it was opened, where nobody says otherwise."""


Handle = Mapping[str, Json]
"""What a provider needs to follow up: opaque JSON without secrets, from the first send."""


def frozen(members: Mapping[str, Json]) -> Mapping[str, Json]:
    """Make an object's members deeply unchangeable."""
    return FrozenDict({name: freeze(value) for name, value in members.items()})


def frozen_handle(handle: Handle | None) -> Handle | None:
    """Make a handle deeply unchangeable."""
    return None if handle is None else frozen(handle)


@attrs.frozen
class IncidentRef:
    """Where an incident is: which action, through which installation, at which destination.

    Attributes:
        action: the action's name (``pagerduty.trigger``).
        installation: the installation's name.
        destination: the destination's id inside the installation.
        correlation_key: what the provider tells incidents apart by (PagerDuty's dedup key).
    """

    action: str
    installation: str
    destination: str
    correlation_key: str


@attrs.frozen
class Incident:
    """One problem as the provider knows it at one destination, from trigger to resolve.

    Attributes:
        place: where it is.
        state: how far it has come.
        severity: of the delivery that opened it last.
        handle: what the provider returned for follow-ups; None before the first send.
        holders: the alerts that hold it open; it resolves when the last one does.
        rules: the rules that opened it.
        follow_ups: what it may be told from now on, as said when it was opened.
    """

    ref: IncidentRef
    state: IncidentState
    severity: Severity
    handle: Handle | None = attrs.field(default=None, converter=frozen_handle)
    holders: tuple[Identity, ...] = ()
    rules: tuple[str, ...] = ()
    follow_ups: tuple[Operation, ...] = FOLLOW_UPS


@attrs.frozen
class Delivery:
    """One planned message about one incident: pure data, no secret in it.

    Attributes:
        operation: what it does to the incident.
        place: which incident.
        alert: whose statement it carries.
        severity: the severity the provider is told, in the contract's words: urgent
            deliveries go first, and of several that meet the worst one speaks.
        message: what the action's ``send`` makes the final bytes from, as JSON.
        rules: the rules that asked for it.
        repairs: what was changed so that the provider takes it.
        notes: what else a person should know (an extension that failed, say).
        follow_ups: of a trigger, what its incident may be told later; the incident keeps it,
            so that a rule that changes meanwhile does not.
        over: its problem was over before anyone could be told, and ``send`` tells it. The host
            says so of a trigger, ``missed`` of what it records instead.
    """

    operation: Operation
    ref: IncidentRef
    alert: Identity
    severity: Severity
    message: Mapping[str, Json] = attrs.field(factory=FrozenDict, converter=frozen)
    rules: tuple[str, ...] = ()
    repairs: tuple[Repair, ...] = ()
    notes: tuple[str, ...] = ()
    follow_ups: tuple[Operation, ...] = FOLLOW_UPS
    over: bool = False


@attrs.frozen
class Suppression:
    """A decision not to send what a rule asked for; it is shown, so that no page vanishes.

    Attributes:
        action: the action's name.
        installation: the installation's name.
        reason: why, for a person.
        plugin: whose decision it was.
        rules: the rules that asked for it.
        notes: what else a person should know (an extension that failed before, say).
    """

    action: str
    installation: str
    reason: str
    plugin: str = ""
    rules: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class OutcomeKind(enum.StrEnum):
    """What is to be done after an attempt."""

    DELIVERED = "delivered"
    """The provider took it."""
    THROTTLED = "throttled"
    """Too much at once: pause the lane, never give up."""
    UNREACHABLE = "unreachable"
    """Nothing is wrong with the message: keep it."""
    FAULTED = "faulted"
    """The provider failed (5xx): keep it; set aside only when others get through."""
    MISCONFIGURED = "misconfigured"
    """A wrong key, a missing secret, a proxy that refuses: hold the lane until repaired."""
    REJECTED = "rejected"
    """This message will never be taken."""
    UNCERTAIN = "uncertain"
    """It may have arrived; only of actions whose repeats are not idempotent."""

    @property
    def may_have_arrived(self) -> bool:
        """Whether the provider may hold the message after an attempt that ended like this."""
        return self in _MAY_HAVE_ARRIVED


_MAY_HAVE_ARRIVED = frozenset(
    {
        OutcomeKind.DELIVERED,
        OutcomeKind.UNREACHABLE,
        OutcomeKind.FAULTED,
        OutcomeKind.UNCERTAIN,
    }
)


def _as_text(reason: str) -> str:
    """Make a reason that every store takes, of None, too: a slip that must not cost a delivery."""
    return clean_text(reason or "")


def _as_seconds(given: Any) -> float | None:
    """Make seconds of what a plugin gave, of a header's text too; None of what is no number."""
    try:
        return float(given)
    except (TypeError, ValueError, OverflowError):
        return None


@attrs.frozen
class Outcome:
    """What one attempt to send came to.

    Attributes:
        kind: what is to be done now.
        reason: why, in the provider's own words where it gave any; no secret in it. What not
            everything can hold (NUL, lone surrogates) is replaced.
        handle: what follow-ups need; None where the provider gave nothing to keep.
        retry_after: seconds the provider asks to be left alone; None where it said nothing that
            is a number.
    """

    kind: OutcomeKind
    reason: str = attrs.field(default="", converter=_as_text)
    handle: Handle | None = attrs.field(default=None, converter=frozen_handle)
    retry_after: float | None = attrs.field(default=None, converter=_as_seconds)

    @property
    def delivered(self) -> bool:
        """Whether the provider took the message."""
        return self.kind is OutcomeKind.DELIVERED


@attrs.frozen
class SendContext:
    """What an attempt knows that the plan did not.

    Attributes:
        handle: the incident's, for follow-ups; None before the first send.
        attempt: which attempt this is, from 1.
        accepted_at: when the host took the alert; None where it did not say.
        now: when this attempt starts; None where it does not matter.
        coalesced: how many later or earlier messages this one stands for.
    """

    handle: Handle | None = attrs.field(default=None, converter=frozen_handle)
    attempt: int = 1
    accepted_at: dt.datetime | None = None
    now: dt.datetime | None = None
    coalesced: int = 0


@attrs.frozen
class Receipt:
    """What became of one delivery, as observers are told.

    Attributes:
        id: names this delivery, stable when an observer is told twice.
        delivery: what was to be sent.
        outcome: of the last attempt; None where none was made yet.
        attempts: how many were made.
        reason: why it was not sent to the end, where no outcome says so: it was dropped by hand,
            say.
    """

    id: str
    delivery: Delivery
    outcome: Outcome | None
    attempts: int = 1
    reason: str = ""


_T = TypeVar("_T")


def merge(deliveries: Iterable[Delivery]) -> tuple[Delivery, ...]:
    """Merge the deliveries of one alert that meet at one place.

    Two rules may name the same service: it is told once, in the words of the delivery with
    the highest severity (the first of them, where several are equal), with the rules and
    notes of all listed. Its incident may be told later whatever one of them allows.

    Returns:
        one delivery for each place, in the order in which the places first came.
    """
    met: dict[IncidentRef, list[Delivery]] = {}
    for delivery in deliveries:
        met.setdefault(delivery.ref, []).append(delivery)
    return tuple(_one(together) for together in met.values())


def _one(together: list[Delivery]) -> Delivery:
    worst = max(together, key=lambda delivery: delivery.severity.rank)
    return attrs.evolve(
        worst,
        rules=_distinct(rule for delivery in together for rule in delivery.rules),
        notes=_distinct(note for delivery in together for note in delivery.notes),
        follow_ups=_distinct(each for delivery in together for each in delivery.follow_ups),
    )


def _distinct(values: Iterable[_T]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys(values))


def coalesce(waiting: Sequence[Operation], *, may_be_open: bool) -> tuple[int, ...]:
    """Reduce what waits for one incident to the few messages that come to the same.

    Whatever state the provider holds the incident in, sending what is kept leaves it in the
    state that sending everything would have left it in, with the newest content, and with a
    notification for the latest episode. Kept are at most: the last resolve, the newest
    trigger after it, the newest acknowledge, the newest update.

    Args:
        waiting: the operations, in the order in which they were accepted.
        may_be_open: whether the provider may hold the incident open now; a message in flight
            or in doubt counts as may be open.

    Returns:
        the indices of what is to be sent, in the order of sending. An acknowledge from before
        the first trigger goes first: it means the incident that may be open, not a new one.
    """
    resolved = _last(waiting, Operation.RESOLVE, 0)
    start = 0 if resolved is None else resolved + 1
    still_open = may_be_open and resolved is None
    opened = _first(waiting, Operation.TRIGGER, start)
    newest = _last(waiting, Operation.TRIGGER, start)
    acknowledged = _last(waiting, Operation.ACKNOWLEDGE, start)
    updated = _last(waiting, Operation.UPDATE, start)

    before: list[int | None] = [resolved if may_be_open else None]
    after: list[int | None] = [newest]
    if updated is not None and (still_open if newest is None else updated > newest):
        after.append(updated)
    if acknowledged is not None:
        if opened is not None and acknowledged > opened:
            after.append(acknowledged)
        elif still_open:
            before.append(acknowledged)
    return tuple(index for index in (*before, *after) if index is not None)


def _first(waiting: Sequence[Operation], wanted: Operation, start: int) -> int | None:
    return next((n for n in range(start, len(waiting)) if waiting[n] is wanted), None)


def _last(waiting: Sequence[Operation], wanted: Operation, start: int) -> int | None:
    return next((n for n in range(len(waiting) - 1, start - 1, -1) if waiting[n] is wanted), None)
