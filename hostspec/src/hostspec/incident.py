"""The incident at a provider, and the deliveries that speak about it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

import attrs

from hostspec.normalise import FrozenDict, Json, Repair, freeze
from hostspec.parts import Identity, Severity


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
class Place:
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

    place: Place
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
    place: Place
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
