"""Plans: the deliveries for one alert, by rules and by the open incidents."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterable, Iterator
from typing import Final, Protocol, TypeGuard

import attrs

from hostspec.action import AnyAction
from hostspec.alert import Alert, Identity, Severity, Status
from hostspec.delivery import (
    Delivery,
    Incident,
    IncidentRef,
    Operation,
    Suppression,
    distinct,
)
from hostspec.errors import Fault, describe_error
from hostspec.normalisation import DEEPEST, FrozenDict, Repair
from hostspec.plugins.isolation import FAILURES
from hostspec.plugins.registry import Plugins, Rule, RuleAction
from hostspec.text import clean_text

MOST_LEVELS: Final = 3 * DEEPEST
"""Most nested objects and lists of a delivery's message: any host can store and read it."""

LATE_REPEAT: Final = "a repeat of an episode that has ended: it started at the same time"
"""Why a firing alert causes no delivery."""

REPEAT_WINDOW: Final = 300.0
"""Seconds after a resolve in which a firing alert may be a late repeat of the ended episode:
Alertmanager's default `group_interval`, in which each peer of a cluster sends its groups."""

RESOLVED_FOR: Final = 300.0
"""Seconds for which an incident that the host resolved gets no resolve of an unknown alert: a
program that reports each success would use up the provider's rate limit."""


def is_late_repeat(
    alert: Alert, ended: dt.datetime | None, newest: dt.datetime | None, age: float
) -> bool:
    """Check whether a firing alert repeats the episode that ended last.

    A second Alertmanager of a cluster may send it after the resolve.

    Args:
        alert: the new alert.
        ended: when that episode started; None if it is unknown, or a newer one is open.
        newest: the newest ``updated_at`` of earlier updates; a later one is no repeat.
        age: seconds since the resolve; after `REPEAT_WINDOW`, a source that fires again is more
            likely than a late repeat.
    """
    if not 0 <= age <= REPEAT_WINDOW:
        return False
    if alert.status is not Status.FIRING or ended is None or alert.started_at != ended:
        return False
    return not (alert.updated_at and newest and alert.updated_at > newest)


def ended_episode(alert: Alert, ended: dt.datetime | None = None) -> dt.datetime | None:
    """Return the start of the last ended episode after an alert; ``ended`` is that before it."""
    if alert.status is Status.FIRING:
        return None
    return (alert.started_at if alert.status is Status.RESOLVED else None) or ended


@attrs.frozen
class Plan:
    """The plan for one alert.

    Attributes:
        rules: names of the rules that match.
        deliveries: the deliveries to send, in order.
        joined: open incidents that this alert holds from now on, though it opens nothing.
        released: incidents that this alert no longer holds, though it resolves nothing: other
            alerts still hold them, or the provider offers no resolve.
        failures: the parts that could not be planned, with reasons.
        suppressions: deliveries that a plugin suppressed.
        remark: why there is no delivery, whatever the rules say.
    """

    alert: Alert
    rules: tuple[str, ...]
    deliveries: tuple[Delivery, ...]
    joined: tuple[IncidentRef, ...] = ()
    released: tuple[IncidentRef, ...] = ()
    failures: tuple[Fault, ...] = ()
    suppressions: tuple[Suppression, ...] = ()
    remark: str = ""

    @property
    def refs(self) -> tuple[IncidentRef, ...]:
        """Every incident that the plan is about."""
        sent = (delivery.ref for delivery in self.deliveries)
        return distinct((sent, self.joined, self.released))

    def at(self, ref: IncidentRef) -> Plan:
        """Return the part of the plan about one incident."""
        return attrs.evolve(
            self,
            deliveries=tuple(each for each in self.deliveries if each.ref == ref),
            joined=(ref,) if ref in self.joined else (),
            released=(ref,) if ref in self.released else (),
        )

    @property
    def repairs(self) -> tuple[Repair, ...]:
        """Every repair once, though several deliveries may carry it."""
        several = (delivery.repairs for delivery in self.deliveries)
        return distinct((self.alert.reported_repairs, *several))


class Incidents(Protocol):
    """The open incidents: in the memory of a host, or in its store."""

    def at(self, ref: IncidentRef, /) -> Incident | None:
        """Return the incident for a reference, if one may be open."""
        ...

    def held_by(self, alert: Identity, /) -> tuple[Incident, ...]:
        """Return the incidents that an alert holds open."""
        ...

    def is_resolved(self, ref: IncidentRef, /) -> bool:
        """Check whether the host resolved an incident in the last `RESOLVED_FOR` seconds."""
        ...


def plan_alert(plugins: Plugins, incidents: Incidents, alert: Alert, rules: Iterable[Rule]) -> Plan:
    """Plan an alert by the rules that match, after its open incidents unless it is firing."""
    return propose(alert, rules).settle(plugins, incidents)


@attrs.frozen
class Proposal:
    """What the matching rules ask for, before the open incidents are known.

    Attributes:
        rules: names of the rules that match.
        deliveries: each with the action that planned it.
    """

    alert: Alert
    rules: tuple[str, ...]
    deliveries: tuple[tuple[AnyAction, Delivery], ...]
    failures: tuple[Fault, ...]
    suppressions: tuple[Suppression, ...]

    def settle(self, plugins: Plugins, incidents: Incidents) -> Plan:
        """Return the plan, which depends on the open incidents."""
        settling = _Settling(plugins, self.alert)
        firing = self.alert.status is Status.FIRING
        if not firing:
            for held in incidents.held_by(self.alert.identity):
                settling.follow_up_or_release(held)
        for action, delivery in self.deliveries:
            can, incident = action.capabilities, incidents.at(delivery.ref)
            if not firing:
                if incident is None and not incidents.is_resolved(delivery.ref):
                    settling.deliveries.append(delivery)
            elif incident is None or can.idempotent or can.record:
                settling.deliveries.append(delivery)
            else:
                settling.follow_up(incident)
        return Plan(
            self.alert,
            self.rules,
            merge(settling.deliveries),
            tuple(settling.joined),
            tuple(settling.released),
            (*self.failures, *settling.failures),
            self.suppressions,
        )


def propose(alert: Alert, rules: Iterable[Rule]) -> Proposal:
    """Return the deliveries of the rules that match an alert.

    An acknowledge or resolve is sent to its open incidents, whatever the rules say. Only those
    with ``resolve_unknown`` are asked, where another resolve goes.
    """
    failures: list[Fault] = []
    suppressions: list[Suppression] = []
    asked = [rule for rule in rules if _is_asked(rule, alert.status)]
    matching = [rule for rule in asked if _matches(rule, alert, failures)]
    deliveries = [
        (use.action, delivery)
        for rule in matching
        for use in rule.actions
        for delivery in _planned(rule, use, alert, failures, suppressions)
    ]
    names = tuple(rule.name for rule in matching)
    return Proposal(alert, names, tuple(deliveries), tuple(failures), tuple(suppressions))


def _is_asked(rule: Rule, status: Status) -> bool:
    return status is Status.FIRING or (status is Status.RESOLVED and rule.resolve_unknown)


def _matches(rule: Rule, alert: Alert, failures: list[Fault]) -> bool:
    """Check whether a rule matches; a rule that fails counts as a match, so that it pages."""
    try:
        return bool(rule.matches(alert))
    except Exception as error:  # noqa: BLE001 -- the host's program may raise anything
        reason = f"could not decide, taken as a match: it {describe_error(error)}"
        failures.append(Fault(f"rule {rule.name!r}", reason))
        return True


def _planned(
    rule: Rule,
    use: RuleAction,
    alert: Alert,
    failures: list[Fault],
    suppressions: list[Suppression],
) -> Iterator[Delivery]:
    """Yield the deliveries of one action of a rule."""
    own = (use.action.name, use.installation.name)
    path = f"rule {rule.name!r}"
    try:
        for planned in use.action.plan(alert, use.settings, use.installation, rule=rule.name):
            if isinstance(planned, Suppression):
                suppressions.append(planned)
            elif is_delivery(planned) and (planned.ref.action, planned.ref.installation) == own:
                yield planned
            else:
                reason = "planned something else than a delivery of its own"
                failures.append(_failure(path, use.action, "plan", reason))
    except BaseException as error:  # noqa: BLE001 -- one rule's action never costs another's
        reason = f"could not plan: it {describe_error(error)}"
        failures.append(_failure(path, use.action, "plan", reason))


class _Settling:
    """The follow-ups of one alert to its open incidents."""

    def __init__(self, plugins: Plugins, alert: Alert) -> None:
        self.deliveries: list[Delivery] = []
        self.joined: list[IncidentRef] = []
        self.released: list[IncidentRef] = []
        self.failures: list[Fault] = []
        self._plugins = plugins
        self._alert = alert

    def follow_up_or_release(self, incident: Incident) -> None:
        """Acknowledge or resolve an incident that the alert holds, unless others hold it, too."""
        if self._alert.status is Status.RESOLVED and len(incident.holders) > 1:
            self.released.append(incident.ref)
        else:
            self.follow_up(incident)

    def follow_up(self, incident: Incident) -> None:
        """Add the follow-up of an incident, made from the incident alone."""
        path = f"destination {incident.ref.destination!r}"
        action = self._plugins.actions.get(incident.ref.action)
        if action is None:  # its plugin was disabled since
            reason = f"the action {incident.ref.action} is gone; its incident cannot be followed up"
            self.failures.append(Fault(path, reason))
            return
        try:
            delivery = action.follow_up(incident, self._alert)
        except BaseException as error:  # noqa: BLE001 -- one incident never costs another's
            reason = f"could not follow up: it {describe_error(error)}"
            self.failures.append(_failure(path, action, "follow_up", reason))
            return
        if delivery is not None and not (is_delivery(delivery) and delivery.ref == incident.ref):
            reason = "followed up with something else than a delivery to the incident"
            self.failures.append(_failure(path, action, "follow_up", reason))
            return
        if delivery is not None and delivery.operation not in incident.follow_ups:
            delivery = None
        if delivery is not None:
            self.deliveries.append(delivery)
        resolves = delivery is not None and delivery.operation is Operation.RESOLVE
        if self._alert.status is Status.FIRING:
            self.joined.append(incident.ref)
        elif self._alert.status is Status.RESOLVED and not resolves:
            # an incident that stays held would suppress the alert's next firing
            self.released.append(incident.ref)


def _failure(path: str, action: AnyAction, method: str, reason: str) -> Fault:
    FAILURES.add(action.name, method)
    return Fault(path, f"the action {action.name} {reason}")


def is_delivery(delivery: object) -> TypeGuard[Delivery]:
    """Check that an object of a plugin is a delivery that every store can write and read back.

    No type checker may have checked the plugin.
    """
    if not isinstance(delivery, Delivery):
        return False
    ref: object = delivery.ref
    alert: object = delivery.alert
    operation: object = delivery.operation
    severity: object = delivery.severity
    return (
        isinstance(ref, IncidentRef)
        and isinstance(alert, Identity)
        and _are_storable(ref.action, ref.installation, ref.destination, ref.correlation_key)
        and _are_storable(alert.scope, alert.key)
        and isinstance(operation, Operation)
        and isinstance(severity, Severity)
        and _consists_of(str, delivery.rules)
        and _consists_of(str, delivery.notes)
        and _consists_of(Repair, delivery.repairs)
        and _consists_of(Operation, delivery.follow_ups)
        and _is_json(delivery.message, MOST_LEVELS)
    )


def _are_storable(*names: str) -> bool:
    if not all(map(isinstance, names, itertools.repeat(str))):
        return False
    text = " ".join(names)
    return clean_text(text) == text


def _consists_of(kind: type, items: object) -> bool:
    return isinstance(items, tuple) and all(map(isinstance, items, itertools.repeat(kind)))


def _is_json(value: object, levels: int) -> bool:
    """Check that a value is frozen JSON with at most some levels of nesting."""
    if isinstance(value, _SCALARS):
        return True
    if not levels or not isinstance(value, (FrozenDict, tuple)):
        return False
    items = value.values() if isinstance(value, FrozenDict) else value
    return all(map(_is_json, items, itertools.repeat(levels - 1)))


_SCALARS: Final = (str, int, float, type(None))


def merge(deliveries: Iterable[Delivery]) -> tuple[Delivery, ...]:
    """Merge the deliveries of one alert to the same incident.

    Two rules may name the same service. It receives one message, that of the delivery with the
    highest severity (the first of them, if several are equal), with the rules and notes of all.
    The incident allows each follow-up that one of them allows.

    Returns:
        one delivery for each incident, in the order of their first appearance.
    """
    met: dict[IncidentRef, list[Delivery]] = {}
    for delivery in deliveries:
        met.setdefault(delivery.ref, []).append(delivery)
    return tuple(
        attrs.evolve(
            max(together, key=lambda delivery: delivery.severity.rank),
            rules=distinct(delivery.rules for delivery in together),
            notes=distinct(delivery.notes for delivery in together),
            follow_ups=distinct(delivery.follow_ups for delivery in together),
        )
        if len(together) > 1
        else together[0]
        for together in met.values()
    )
