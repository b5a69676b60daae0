"""The host object a program embeds: it plans, follows up and sends."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable
from typing import Any

from hostspec.action import AnyAction, Preview
from hostspec.alert import Alert, Identity
from hostspec.delivery import Delivery, Incident, IncidentRef, Outcome, OutcomeKind, Receipt
from hostspec.errors import describe_error
from hostspec.inprocess.fair_lock import Turns, calling
from hostspec.inprocess.handling import Handling
from hostspec.inprocess.memory import Memory
from hostspec.inprocess.report import Report
from hostspec.inprocess.sending import Sending
from hostspec.plugins.planning import Plan
from hostspec.plugins.registry import Plugins
from hostspec.provider import Installation
from hostspec.rules import Rule

_log = logging.getLogger("hostspec")


class Host:
    """Plans, follows up and sends, and remembers in memory what it opened.

    Safe to use from several threads. Messages about one incident are sent in the order of the
    calls, different incidents never wait for each other, and no lock is held while plugins, rules
    or log handlers run. An asyncio program calls ``await asyncio.to_thread(host.handle, alert)``.

    Args:
        plugins: that it uses.
        rules: that it applies.
        timeout: seconds that `handle` waits for providers; None for as long as they take.

    Raises:
        ValueError: two installations have one name, or a rule's action is none of the plugins'.
    """

    def __init__(
        self, plugins: Plugins, rules: Iterable[Rule], *, timeout: float | None = None
    ) -> None:
        self.plugins = plugins
        self.timeout = timeout
        self.rules = tuple(rules)
        uses = [use for rule in self.rules for use in rule.actions]
        _refuse_strangers(plugins, (use.action for use in uses))
        self._installations = _by_name(use.installation for use in uses)
        self._memory = Memory()
        self._turns = Turns()
        self._sending = Sending(plugins, self.rules, self._installations, self._memory)

    def handle(self, alert: Alert, *, timeout: float | None = None) -> Report:
        """Plan and send, one attempt for each delivery; never raises for what plugins do.

        Deliveries to several destinations are sent at the same time. An attempt that is still
        under way when the time is up goes on on its own thread, and observers are notified of its
        end; one that waits for its turn is not made. The report says which is which.

        Called within itself (a plugin, a rule or a log handler calls it), it does not wait for
        its own caller: the report has a failure instead.

        Args:
            alert: what happened.
            timeout: seconds to wait for providers; None for the host's own.
        """
        limit = self.timeout if timeout is None else timeout
        with calling(limit) as call:
            report = Handling(self._sending, self._turns, alert, call).run()
            self._sending.log_report(report)
            return report

    def plan(self, alert: Alert) -> Plan:
        """Describe what is to be done about an alert; sends nothing, and remembers nothing.

        What this host opened is followed up wherever it is, whatever the rules say by now.
        An acknowledge or resolve of what it did not open itself goes where the rules say.
        """
        return self._sending.begin(alert, self._memory)

    def send(self, delivery: Delivery) -> Receipt:
        """Make one attempt to send a delivery; tells the observers."""
        receipt = self._sending.send(delivery, uuid.uuid4().hex)
        self._sending.tell(receipt)
        self._sending.log_receipt(receipt)
        return receipt

    def held_by(self, alert: Identity) -> tuple[Incident, ...]:
        """Return the incidents that an alert holds open, as far as this host remembers."""
        return self._memory.held_by(alert)

    def name_of(self, ref: IncidentRef) -> str:
        """Name a place as people do: installation and destination, as that is called now."""
        installation = self._installations[ref.installation]
        provider = self.plugins.providers[installation.provider]
        try:
            names = {each.id: each.name for each in provider.destinations(installation)}
        except Exception as error:  # noqa: BLE001 -- a name is not worth a page
            _log.error("the provider %s has no names: it %s", provider.name, describe_error(error))
            names = {}
        return f"{ref.installation}/{names.get(ref.destination, ref.destination)}"

    def preview(self, delivery: Delivery) -> Preview:
        """Show what `send` would send, secrets masked; reads no secret."""
        action = self.plugins.actions[delivery.ref.action]
        installation = self._installations[delivery.ref.installation]
        return action.preview(delivery, installation, self._sending.context(delivery))

    def assume(self, plan: Plan) -> None:
        """Remember a plan as if all of it had been delivered; for showing what comes next."""
        if plan.remark:
            return
        self._memory.note(plan.alert)
        self._hold(plan)
        for delivery in plan.deliveries:
            self._memory.settle(delivery, Outcome(OutcomeKind.DELIVERED), arrived=True)

    def _hold(self, plan: Plan) -> None:
        for ref in plan.joined:
            self._memory.join(ref, plan.alert.identity)
        for ref in plan.released:
            self._memory.release(ref, plan.alert.identity)


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
