"""Plans: the deliveries for one alert, by rules and by the open incidents."""

from __future__ import annotations

import datetime as dt
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
from hostspec.normalisation import Repair
from hostspec.plugins.isolation import FAILURES
from hostspec.plugins.registry import Plugins, Rule, RuleAction
from hostspec.text import clean_text

_FIELD_TYPES: Final[dict[str, type]] = {
    "operation": Operation,
    "ref": IncidentRef,
    "alert": Identity,
    "severity": Severity,
    "rules": tuple,
    "repairs": tuple,
    "notes": tuple,
}
"""The types of a delivery's fields, for plugins that no type checker has checked."""

LATE_REPEAT: Final = "a repeat of an episode that has ended: it started at the same time"
"""Why a firing alert causes no delivery."""

REPEAT_WINDOW: Final = 300.0
"""Seconds after a resolve in which a firing alert may be a late repeat of the ended episode:
Alertmanager's default `group_interval`, in which each peer of a cluster sends its groups."""


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


def plan_alert(plugins: Plugins, incidents: Incidents, alert: Alert, rules: Iterable[Rule]) -> Plan:
    """Plan an alert by the rules that match, after its open incidents unless it is firing."""
    planning = _Planning(plugins, incidents, alert)
    matching = [rule for rule in rules if planning.matches(rule)]
    if alert.status is not Status.FIRING:
        planning.follow_up()
    for rule in matching:
        planning.open(rule)
    return planning.plan(matching)


class _Planning:
    def __init__(self, plugins: Plugins, incidents: Incidents, alert: Alert) -> None:
        self._deliveries: list[Delivery] = []
        self._joined: list[IncidentRef] = []
        self._released: list[IncidentRef] = []
        self._failures: list[Fault] = []
        self._suppressions: list[Suppression] = []
        self._plugins = plugins
        self._incidents = incidents
        self._alert = alert

    def matches(self, rule: Rule) -> bool:
        """Check whether a rule matches; a rule that fails counts as a match, so that it pages."""
        try:
            return bool(rule.matches(self._alert))
        except Exception as error:  # noqa: BLE001 -- the host's program may raise anything
            reason = f"could not decide, taken as a match: it {describe_error(error)}"
            self._failures.append(Fault(f"rule {rule.name!r}", reason))
            return True

    def follow_up(self) -> None:
        """Acknowledge or resolve the incidents that the alert holds, from the incidents alone."""
        resolved = self._alert.status is Status.RESOLVED
        for incident in self._incidents.held_by(self._alert.identity):
            if resolved and len(incident.holders) > 1:
                self._released.append(incident.ref)
            else:
                self._follow_up(incident)

    def open(self, rule: Rule) -> None:
        """Add the deliveries of a rule."""
        for use in rule.actions:
            for delivery in self._planned(rule, use):
                incident = self._incidents.at(delivery.ref)
                if incident is None:
                    self._deliveries.append(delivery)
                elif self._alert.status is Status.FIRING:
                    can = use.action.capabilities
                    if can.idempotent or can.record:
                        self._deliveries.append(delivery)
                    else:
                        self._follow_up(incident)

    def plan(self, rules: Iterable[Rule]) -> Plan:
        """Return the plan; ``rules`` are the matching ones."""
        return Plan(
            self._alert,
            tuple(rule.name for rule in rules),
            merge(self._deliveries),
            tuple(self._joined),
            tuple(self._released),
            tuple(self._failures),
            tuple(self._suppressions),
        )

    def _planned(self, rule: Rule, use: RuleAction) -> Iterator[Delivery]:
        own = (use.action.name, use.installation.name)
        try:
            for planned in use.action.plan(
                self._alert, use.settings, use.installation, rule=rule.name
            ):
                if isinstance(planned, Suppression):
                    self._suppressions.append(planned)
                elif is_delivery(planned) and (planned.ref.action, planned.ref.installation) == own:
                    yield planned
                else:
                    reason = "planned something else than a delivery of its own"
                    self._fail(f"rule {rule.name!r}", use.action, "plan", reason)
        except BaseException as error:  # noqa: BLE001 -- one rule's action never costs another's
            reason = f"could not plan: it {describe_error(error)}"
            self._fail(f"rule {rule.name!r}", use.action, "plan", reason)

    def _follow_up(self, incident: Incident) -> None:
        path = f"destination {incident.ref.destination!r}"
        action = self._plugins.actions.get(incident.ref.action)
        if action is None:  # its plugin was disabled since
            reason = f"the action {incident.ref.action} is gone; its incident cannot be followed up"
            self._failures.append(Fault(path, reason))
            return
        try:
            delivery = action.follow_up(incident, self._alert)
        except BaseException as error:  # noqa: BLE001 -- one incident never costs another's
            reason = f"could not follow up: it {describe_error(error)}"
            self._fail(path, action, "follow_up", reason)
            return
        if delivery is not None and not (is_delivery(delivery) and delivery.ref == incident.ref):
            reason = "followed up with something else than a delivery to the incident"
            self._fail(path, action, "follow_up", reason)
            return
        if delivery is not None and delivery.operation not in incident.follow_ups:
            delivery = None
        if delivery is not None:
            self._deliveries.append(delivery)
        resolves = delivery is not None and delivery.operation is Operation.RESOLVE
        if self._alert.status is Status.FIRING:
            self._joined.append(incident.ref)
        elif self._alert.status is Status.RESOLVED and not resolves:
            # an incident that stays held would suppress the alert's next firing
            self._released.append(incident.ref)

    def _fail(self, path: str, action: AnyAction, method: str, reason: str) -> None:
        FAILURES.add(action.name, method)
        self._failures.append(Fault(path, f"the action {action.name} {reason}"))


def is_delivery(delivery: object) -> TypeGuard[Delivery]:
    """Check that an object of a plugin is a delivery with valid fields that every store accepts."""
    return (
        isinstance(delivery, Delivery)
        and all(isinstance(getattr(delivery, name), kind) for name, kind in _FIELD_TYPES.items())
        and all(map(_is_storable, attrs.astuple(delivery.ref)))
        and all(map(_is_storable, attrs.astuple(delivery.alert)))
    )


def _is_storable(part: object) -> bool:
    return isinstance(part, str) and clean_text(part) == part


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
        for together in met.values()
    )
