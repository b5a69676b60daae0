"""The host object a program embeds: it plans, follows up and sends."""

from __future__ import annotations

import itertools
import logging
import threading
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, Final

import attrs

from hostspec.action import AnyAction, Preview
from hostspec.alert import Alert, Status
from hostspec.faults import Fault
from hostspec.incident import Delivery, Incident, Place
from hostspec.kernel.calling import told
from hostspec.kernel.loading import Plugins
from hostspec.kernel.memory import Memory
from hostspec.kernel.rules import Rule, RuleAction
from hostspec.merge import merge
from hostspec.normalise import Repair
from hostspec.outcome import Outcome, OutcomeKind, Receipt, SendContext
from hostspec.provider import Installation

_log = logging.getLogger("hostspec")

_LOCKS: Final = 64
"""Alerts are handled one by one for each identity; identities share this many locks."""


@attrs.frozen
class Plan:
    """What is to be done about one alert.

    Attributes:
        alert: the statement.
        rules: names of the rules that match.
        deliveries: what to send, in order.
        released: incidents that this alert lets go of, and others still hold open.
        failures: what could not be planned, and why.
    """

    alert: Alert
    rules: tuple[str, ...]
    deliveries: tuple[Delivery, ...]
    released: tuple[Place, ...] = ()
    failures: tuple[Fault, ...] = ()

    @property
    def repairs(self) -> tuple[Repair, ...]:
        """Every repair once, though several deliveries may carry it."""
        several = (delivery.repairs for delivery in self.deliveries)
        return tuple(dict.fromkeys(itertools.chain(self.alert.repairs, *several)))


@attrs.frozen
class Report:
    """What became of one alert.

    Attributes:
        plan: what was to be done.
        receipts: one for each delivery.
    """

    plan: Plan
    receipts: tuple[Receipt, ...]

    @property
    def delivered(self) -> bool:
        """Whether everything was planned, and the providers took it all."""
        taken = all(receipt.outcome and receipt.outcome.delivered for receipt in self.receipts)
        return taken and not self.plan.failures


class Host:
    """Plans, follows up and sends, and remembers in memory what it opened.

    Safe to use from several threads; what is said about one alert is handled in the order of
    the calls. An asyncio program calls ``await asyncio.to_thread(host.handle, alert)``.
    """

    def __init__(self, plugins: Plugins, rules: Iterable[Rule]) -> None:
        self.plugins = plugins
        self.rules = tuple(rules)
        self._installations = _by_name(
            use.installation for rule in self.rules for use in rule.actions
        )
        self._memory = Memory()
        self._locks = tuple(threading.Lock() for _ in range(_LOCKS))

    def handle(self, alert: Alert) -> Report:
        """Plan and send, one attempt for each delivery; never raises for what plugins do."""
        with self._locks[hash(alert.identity) % _LOCKS]:
            plan = self.plan(alert)
            self._release(plan)
            return Report(plan, tuple(self.send(delivery) for delivery in plan.deliveries))

    def plan(self, alert: Alert) -> Plan:
        """Say what is to be done about an alert; sends nothing, and remembers nothing.

        What this host opened is followed up wherever it is, whatever the rules say by now.
        An acknowledge or resolve of what it did not open itself goes where the rules say.
        """
        planning = _Planning(self.plugins, self._memory, alert)
        matching = [rule for rule in self.rules if planning.matches(rule)]
        if alert.status is not Status.FIRING:
            planning.follow_up()
        for rule in matching:
            planning.open(rule)
        return Plan(
            alert,
            tuple(rule.name for rule in matching),
            merge(planning.deliveries),
            tuple(planning.released),
            tuple(planning.failures),
        )

    def send(self, delivery: Delivery) -> Receipt:
        """Make one attempt to send a delivery; tells the observers."""
        incident = self._memory.at(delivery.place)
        context = SendContext(handle=incident.handle if incident else None)
        outcome = self._attempt(delivery, context)
        self._memory.settle(delivery, outcome)
        receipt = Receipt(uuid.uuid4().hex, delivery, outcome)
        hook = "hostspec_delivered" if outcome.delivered else "hostspec_undelivered"
        for answer in self.plugins.hooks.each(hook, receipt=receipt):
            if answer.failure:
                _log.error("plugin %s: %s failed: %s", answer.plugin, hook, answer.failure)
        return receipt

    def preview(self, delivery: Delivery) -> Preview:
        """Show what `send` would send, secrets masked; reads no secret."""
        incident = self._memory.at(delivery.place)
        context = SendContext(handle=incident.handle if incident else None)
        action = self.plugins.actions[delivery.place.action]
        return action.preview(delivery, self._installations[delivery.place.installation], context)

    def assume(self, plan: Plan) -> None:
        """Remember a plan as if all of it had been delivered; for showing what comes next."""
        self._release(plan)
        for delivery in plan.deliveries:
            self._memory.settle(delivery, Outcome(OutcomeKind.DELIVERED))

    def _release(self, plan: Plan) -> None:
        for place in plan.released:
            self._memory.release(place, plan.alert.identity)

    def _attempt(self, delivery: Delivery, context: SendContext) -> Outcome:
        action = self.plugins.actions[delivery.place.action]
        installation = self._installations[delivery.place.installation]
        try:
            outcome = action.send(delivery, installation, context)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 -- whatever a plugin does, the host goes on
            return _broken(action, f"the action {action.name} failed: {told(error)}")
        if not isinstance(outcome, Outcome):
            return _broken(action, f"the action {action.name} returned no outcome")
        return outcome


def _broken(action: AnyAction, reason: str) -> Outcome:
    """Judge an attempt that broke off inside the action: nobody knows how far it came."""
    idempotent = action.capabilities.idempotent
    return Outcome(OutcomeKind.FAULTED if idempotent else OutcomeKind.UNCERTAIN, reason)


def _by_name(installations: Iterable[Installation[Any]]) -> dict[str, Installation[Any]]:
    named: dict[str, Installation[Any]] = {}
    for installation in installations:
        if named.setdefault(installation.name, installation) != installation:
            message = (
                f"two installations are named {installation.name!r}; names are unique in a host"
            )
            raise ValueError(message)
    return named


class _Planning:
    """The plan for one alert while it is made."""

    def __init__(self, plugins: Plugins, memory: Memory, alert: Alert) -> None:
        self.deliveries: list[Delivery] = []
        self.released: list[Place] = []
        self.failures: list[Fault] = []
        self._plugins = plugins
        self._memory = memory
        self._alert = alert

    def matches(self, rule: Rule) -> bool:
        """Ask a rule; one that cannot say pages rather than stays silent."""
        try:
            return rule.matches(self._alert)
        except Exception as error:  # noqa: BLE001 -- the host's program may do anything there
            reason = f"could not decide, taken as a match: {told(error)}"
            self.failures.append(Fault(f"rule {rule.name!r}", reason))
            return True

    def follow_up(self) -> None:
        """Acknowledge or resolve what the alert holds open, from the incidents alone."""
        resolved = self._alert.status is Status.RESOLVED
        for incident in self._memory.held_by(self._alert.identity):
            if resolved and len(incident.holders) > 1:
                self.released.append(incident.place)
            else:
                self._follow_up(incident)

    def open(self, rule: Rule) -> None:
        """Add what a rule asks for."""
        for use in rule.actions:
            for delivery in self._planned(rule, use):
                incident = self._memory.at(delivery.place)
                if incident is None:
                    self.deliveries.append(delivery)
                elif self._alert.status is Status.FIRING:
                    if use.action.capabilities.idempotent:
                        self.deliveries.append(delivery)
                    else:
                        self._follow_up(incident)

    def _planned(self, rule: Rule, use: RuleAction) -> Iterator[Delivery]:
        try:
            yield from use.action.plan(self._alert, use.settings, use.installation, rule=rule.name)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 -- one rule's action never costs another's
            reason = f"the action {use.action.name} could not plan: {told(error)}"
            self.failures.append(Fault(f"rule {rule.name!r}", reason))

    def _follow_up(self, incident: Incident) -> None:
        action = self._plugins.actions[incident.place.action]
        try:
            delivery = action.follow_up(incident, self._alert)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 -- one incident never costs another's
            reason = f"the action {action.name} could not follow up: {told(error)}"
            self.failures.append(Fault(f"destination {incident.place.destination!r}", reason))
            return
        if delivery is not None:
            self.deliveries.append(delivery)
