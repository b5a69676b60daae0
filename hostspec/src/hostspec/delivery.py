"""Incidents at a provider, deliveries to them, and the outcomes of sending."""

from __future__ import annotations

import datetime as dt
import enum
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import attrs

from hostspec.alert import Identity, Severity
from hostspec.normalisation import FrozenDict, Json, Repair
from hostspec.text import clean_text


class Operation(enum.StrEnum):
    """The effect of a delivery on its incident."""

    TRIGGER = "trigger"
    """Opens the incident; repeats it if it is open already."""
    ACKNOWLEDGE = "acknowledge"
    """Marks the incident as being worked on."""
    RESOLVE = "resolve"
    """Closes the incident."""
    UPDATE = "update"
    """Adds to the open incident, for providers at which a repeat would open another one."""


class IncidentState(enum.StrEnum):
    """The state of an incident at the provider."""

    TRIGGERED = "triggered"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


FOLLOW_UPS: Final = (Operation.ACKNOWLEDGE, Operation.RESOLVE, Operation.UPDATE)
"""The default follow-ups of an incident."""

Handle = Mapping[str, Json]
"""The provider's data for follow-ups: opaque JSON without secrets, from the first send."""


def frozen(members: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return an object whose members are deeply frozen."""
    return members if type(members) is FrozenDict else FrozenDict(members)


def frozen_handle(handle: Handle | None) -> Handle | None:
    """Return a deeply frozen handle."""
    return None if handle is None else frozen(handle)


@attrs.frozen(cache_hash=True)
class IncidentRef:
    """The reference that identifies an incident.

    It has the names of the action (``pagerduty.trigger``) and the installation, the destination's
    id inside the installation, and the provider's key of the incident (PagerDuty's dedup key).
    """

    action: str
    installation: str
    destination: str
    correlation_key: str


@attrs.frozen
class Incident:
    """A problem at one destination of a provider, from trigger to resolve.

    Attributes:
        severity: the severity of its newest trigger.
        handle: the provider's data for follow-ups; None before the first send.
        holders: the alerts that hold it open; it resolves when the last one does.
        rules: the rules that opened it.
        follow_ups: the follow-ups that are allowed, as of its trigger.
    """

    ref: IncidentRef
    state: IncidentState
    severity: Severity
    handle: Handle | None = attrs.field(default=None, converter=frozen_handle)
    holders: tuple[Identity, ...] = ()
    rules: tuple[str, ...] = ()
    follow_ups: tuple[Operation, ...] = FOLLOW_UPS

    @classmethod
    def opened_by(cls, delivery: Delivery, state: IncidentState) -> Incident:
        """Return the incident that a delivery opens; the alert of the delivery holds it."""
        return cls(
            ref=delivery.ref,
            state=state,
            severity=delivery.severity,
            holders=(delivery.alert,),
            rules=delivery.rules,
            follow_ups=delivery.follow_ups,
        )


@attrs.frozen
class Delivery:
    """One planned message about one incident: plain data without secrets.

    Attributes:
        alert: the identity of the alert that it reports.
        severity: the severity that the provider receives, on the contract's scale. Urgent
            deliveries are sent first, and merging keeps the most severe message.
        message: the JSON from which the action's ``send`` builds the request.
        rules: the rules that planned it.
        repairs: the changes that made it acceptable to the provider.
        notes: further remarks for the operator, such as the failure of an extension.
        follow_ups: of a trigger, the follow-ups that its incident allows. The incident keeps
            them even if the rule changes meanwhile.
        over: its problem ended before the trigger was delivered, and the message says so. The
            host sets it on a trigger, ``on_missed`` on a record that replaces one.
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
    """A plugin's decision not to send a delivery of a rule; it is logged and listed.

    It names the action, the installation, the plugin, and the rules that planned the delivery.
    ``notes`` are further remarks for the operator, such as an earlier failure of an extension.
    """

    action: str
    installation: str
    reason: str
    plugin: str = ""
    rules: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class OutcomeKind(enum.StrEnum):
    """The kinds of outcome, each with its own treatment."""

    DELIVERED = "delivered"
    """The provider accepted the message."""
    THROTTLED = "throttled"
    """Rate limited: pause the lane, never give up."""
    UNREACHABLE = "unreachable"
    """The provider was not reached: retry."""
    FAULTED = "faulted"
    """The provider failed (5xx): retry; dead-letter only if other messages arrive."""
    MISCONFIGURED = "misconfigured"
    """A wrong key, a missing secret, a proxy that denies access: block the lane until fixed."""
    REJECTED = "rejected"
    """The provider will never accept this message."""
    UNCERTAIN = "uncertain"
    """The message may have arrived; only for actions that are not idempotent."""

    @property
    def may_have_arrived(self) -> bool:
        """Whether the provider may hold the message after an attempt that ended like this."""
        return self in _MAY_HAVE_ARRIVED


_MAY_HAVE_ARRIVED = frozenset(
    {OutcomeKind.DELIVERED, OutcomeKind.UNREACHABLE, OutcomeKind.FAULTED, OutcomeKind.UNCERTAIN}
)


def _as_text(reason: str) -> str:
    """Return a reason that every store accepts; a plugin's None must not cost a delivery."""
    return clean_text(reason or "")


def _as_seconds(given: Any) -> float | None:
    """Return a plugin's number of seconds, or None; it may be the text of a header."""
    try:
        return float(given)
    except (TypeError, ValueError, OverflowError):
        return None


@attrs.frozen
class Outcome:
    """The outcome of one attempt to send.

    Attributes:
        kind: the kind, which decides whether the host retries.
        reason: the reason, quoting the provider if possible; without secrets. NUL and lone
            surrogates are replaced.
        handle: the data for follow-ups, if the provider returned any.
        retry_after: the pause that the provider asks for, in seconds; None if it gave none.
    """

    kind: OutcomeKind
    reason: str = attrs.field(default="", converter=_as_text)
    handle: Handle | None = attrs.field(default=None, converter=frozen_handle)
    retry_after: float | None = attrs.field(default=None, converter=_as_seconds)

    @property
    def delivered(self) -> bool:
        """Whether the provider accepted the message."""
        return self.kind is OutcomeKind.DELIVERED


@attrs.frozen
class SendContext:
    """The circumstances of an attempt, which are unknown when it is planned.

    Attributes:
        handle: the incident's handle; None before the first send.
        attempt: the number of the attempt, from 1.
        accepted_at: when the host accepted the alert; None if unknown.
        now: when the attempt starts; None if it does not matter.
        coalesced: the number of other messages that this one replaces.
    """

    handle: Handle | None = attrs.field(default=None, converter=frozen_handle)
    attempt: int = 1
    accepted_at: dt.datetime | None = None
    now: dt.datetime | None = None
    coalesced: int = 0


@attrs.frozen
class Receipt:
    """The result of one delivery, for observers.

    Attributes:
        id: the id of the delivery; the same if an observer is called twice.
        outcome: the outcome of the last attempt; None before the first.
        reason: why it was given up, if the outcome does not say it: an operator discarded it,
            for example.
    """

    id: str
    delivery: Delivery
    outcome: Outcome | None
    attempts: int = 1
    reason: str = ""


_T = TypeVar("_T")


def distinct(several: Iterable[Iterable[_T]]) -> tuple[_T, ...]:
    """Return every value of several collections once, in order."""
    return tuple(dict.fromkeys(itertools.chain.from_iterable(several)))


def coalesce(queued: Sequence[Operation], *, may_be_open: bool) -> tuple[int, ...]:
    """Reduce the queued messages of one incident to the few that have the same effect.

    In every state of the incident at the provider, sending the reduced messages leaves it in the
    same state as sending all of them, with the newest content, and with a notification for the
    latest episode. At most these remain: the last resolve, the newest trigger after it, the
    newest acknowledge, the newest update.

    Args:
        queued: the operations, in the order of acceptance.
        may_be_open: whether the incident may be open at the provider now; it may be after a
            message that is in flight or uncertain.

    Returns:
        the indices of the messages to send, in order. An acknowledge from before the first
        trigger comes first: it belongs to the incident that may be open, not to a new one.
    """
    resolved = max((n for n, each in enumerate(queued) if each is Operation.RESOLVE), default=None)
    since = range(0 if resolved is None else resolved + 1, len(queued))
    still_open = may_be_open and resolved is None
    opened = next((n for n in since if queued[n] is Operation.TRIGGER), None)
    last = {queued[n]: n for n in since}
    newest = last.get(Operation.TRIGGER)
    acknowledged = last.get(Operation.ACKNOWLEDGE)
    updated = last.get(Operation.UPDATE)

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
