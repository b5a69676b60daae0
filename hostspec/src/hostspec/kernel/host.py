"""The host object a program embeds: it plans, follows up and sends."""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Iterable
from typing import Any

import attrs

from hostspec.action import AnyAction, Preview
from hostspec.alert import Alert
from hostspec.incident import Delivery, Incident, Place
from hostspec.kernel.attempt import attempt
from hostspec.kernel.calling import told
from hostspec.kernel.memory import Memory
from hostspec.kernel.planning import Plan, Planning
from hostspec.kernel.plugins import Plugins
from hostspec.kernel.rules import Rule
from hostspec.kernel.turns import Turns
from hostspec.outcome import Outcome, OutcomeKind, Receipt, SendContext
from hostspec.parts import Identity, Status
from hostspec.provider import Installation

_log = logging.getLogger("hostspec")
_planning_log = logging.getLogger("hostspec.planning")


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

    Raises:
        ValueError: two installations have one name, or a rule's action is none of the plugins'.
    """

    def __init__(self, plugins: Plugins, rules: Iterable[Rule]) -> None:
        self.plugins = plugins
        self.rules = tuple(rules)
        uses = [use for rule in self.rules for use in rule.actions]
        _refuse_strangers(plugins, (use.action for use in uses))
        self._installations = _by_name(use.installation for use in uses)
        self._memory = Memory()
        self._turns = Turns()

    def handle(self, alert: Alert) -> Report:
        """Plan and send, one attempt for each delivery; never raises for what plugins do."""
        with self._turns.of([alert.identity]):
            known = self._memory.version
            plan = self.plan(alert)
            # other alerts may meet this one in an incident
            with self._turns.of(plan.places):
                if self._memory.version != known:
                    plan = self.plan(alert)
                self._hold(plan)
                for failure in plan.failures:
                    _planning_log.error("alert %s: %s", alert.key, failure)
                return Report(plan, tuple(self.send(delivery) for delivery in plan.deliveries))

    def plan(self, alert: Alert) -> Plan:
        """Say what is to be done about an alert; sends nothing, and remembers nothing.

        What this host opened is followed up wherever it is, whatever the rules say by now.
        An acknowledge or resolve of what it did not open itself goes where the rules say.
        """
        alert = alert.as_of(dt.datetime.now(dt.UTC))
        planning = Planning(self.plugins, self._memory, alert)
        matching = [rule for rule in self.rules if planning.matches(rule)]
        if alert.status is not Status.FIRING:
            planning.follow_up()
        for rule in matching:
            planning.open(rule)
        return planning.plan(matching)

    def send(self, delivery: Delivery) -> Receipt:
        """Make one attempt to send a delivery; tells the observers."""
        action = self.plugins.actions[delivery.place.action]
        installation = self._installations[delivery.place.installation]
        made = attempt(action, delivery, installation, self._context(delivery))
        self._memory.settle(delivery, made.outcome, arrived=made.may_have_arrived)
        receipt = Receipt(uuid.uuid4().hex, delivery, made.outcome)
        hook = "hostspec_delivered" if made.outcome.delivered else "hostspec_undelivered"
        for answer in self.plugins.hooks.each(hook, receipt=receipt):
            if answer.failure:
                _log.error("plugin %s: %s failed: %s", answer.plugin, hook, answer.failure)
        return receipt

    def held_by(self, alert: Identity) -> tuple[Incident, ...]:
        """Give the incidents that an alert holds open, as far as this host remembers."""
        return self._memory.held_by(alert)

    def name_of(self, place: Place) -> str:
        """Name a place as people do: installation and destination, as that is called now."""
        installation = self._installations[place.installation]
        provider = self.plugins.providers[installation.provider]
        try:
            names = {each.id: each.name for each in provider.destinations(installation)}
        except Exception as error:  # noqa: BLE001 -- a name is not worth a page
            _log.error("the provider %s has no names: %s", provider.name, told(error))
            names = {}
        return f"{place.installation}/{names.get(place.destination, place.destination)}"

    def preview(self, delivery: Delivery) -> Preview:
        """Show what `send` would send, secrets masked; reads no secret."""
        action = self.plugins.actions[delivery.place.action]
        installation = self._installations[delivery.place.installation]
        return action.preview(delivery, installation, self._context(delivery))

    def assume(self, plan: Plan) -> None:
        """Remember a plan as if all of it had been delivered; for showing what comes next."""
        self._hold(plan)
        for delivery in plan.deliveries:
            self._memory.settle(delivery, Outcome(OutcomeKind.DELIVERED), arrived=True)

    def _hold(self, plan: Plan) -> None:
        for place in plan.joined:
            self._memory.join(place, plan.alert.identity)
        for place in plan.released:
            self._memory.release(place, plan.alert.identity)

    def _context(self, delivery: Delivery) -> SendContext:
        incident = self._memory.at(delivery.place)
        return SendContext(handle=incident.handle if incident else None)


def _refuse_strangers(plugins: Plugins, actions: Iterable[AnyAction]) -> None:
    for action in actions:
        if plugins.actions.get(action.name) is not action:
            message = f"the action {action.name!r} of a rule is none of the host's plugins"
            raise ValueError(message)


def _by_name(installations: Iterable[Installation[Any]]) -> dict[str, Installation[Any]]:
    named: dict[str, Installation[Any]] = {}
    for installation in installations:
        if named.setdefault(installation.name, installation) != installation:
            message = (
                f"two installations are named {installation.name!r}; names are unique in a host"
            )
            raise ValueError(message)
    return named
