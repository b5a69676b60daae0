"""The host that a program embeds: it plans, follows up and sends."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable
from typing import Any

from hostspec.action import AnyAction, Preview
from hostspec.alert import Alert, Identity
from hostspec.delivery import Delivery, Incident, IncidentRef, Outcome, OutcomeKind, Receipt
from hostspec.errors import describe_error
from hostspec.inprocess.fair_lock import FairLocks, begin_call
from hostspec.inprocess.handling import Handling, Sender
from hostspec.inprocess.memory import IncidentMemory
from hostspec.inprocess.report import Report
from hostspec.plugins.planning import Plan
from hostspec.plugins.registry import Plugins, Rule
from hostspec.provider import Installation

_log = logging.getLogger("hostspec")


class Host:
    """Plans, follows up and sends, and keeps the incidents that it opened in memory.

    Safe to use from several threads. Messages about one incident are sent in the order of the
    calls, different incidents never wait for each other, and no thread lock is held while plugins,
    rules or log handlers run. An asyncio program calls
    ``await asyncio.to_thread(host.handle, alert)``.

    Args:
        plugins: the loaded plugins.
        rules: the rules that alerts are matched with.
        timeout: seconds that `handle` waits for providers; None for no limit.

    Raises:
        ValueError: two installations have one name, or no plugin offers a rule's action.
    """

    def __init__(
        self, plugins: Plugins, rules: Iterable[Rule], *, timeout: float | None = None
    ) -> None:
        self.plugins = plugins
        self.timeout = timeout
        self.rules = tuple(rules)
        uses = [use for rule in self.rules for use in rule.actions]
        _require_offered(plugins, (use.action for use in uses))
        self._installations = _by_name(use.installation for use in uses)
        self._memory = IncidentMemory()
        self._locks = FairLocks()
        self._sender = Sender(plugins, self.rules, self._installations, self._memory)

    def handle(self, alert: Alert, *, timeout: float | None = None) -> Report:
        """Plan and send, one attempt for each delivery; a plugin's exception never gets through.

        Deliveries to several destinations are sent at the same time. When the time is up, an
        attempt in flight continues on its own thread, and observers are notified of its end; a
        queued attempt is not made. The report shows which.

        If a plugin, a rule or a log handler calls it while it handles the same alert or incident,
        it does not wait for its own caller: the report has a failure instead.

        The timeout is in seconds; None for the host's own.
        """
        limit = self.timeout if timeout is None else timeout
        with begin_call(limit) as call:
            report = Handling(self._sender, self._locks, alert, call).run()
            self._sender.log_report(report)
            return report

    def plan(self, alert: Alert) -> Plan:
        """Return the plan for an alert; sends and remembers nothing.

        Incidents that this host opened are followed up, whatever the rules say now. For other
        incidents, the rules decide where an acknowledge or resolve goes.
        """
        return self._sender.plan(alert, self._memory)

    def send(self, delivery: Delivery) -> Receipt:
        """Make one attempt to send a delivery, and notify the observers."""
        receipt = self._sender.send(delivery, uuid.uuid4().hex)
        self._sender.notify(receipt)
        self._sender.log_receipt(receipt)
        return receipt

    def held_by(self, alert: Identity) -> tuple[Incident, ...]:
        """Return the incidents of this host that an alert holds open."""
        return self._memory.held_by(alert)

    def name_of(self, ref: IncidentRef) -> str:
        """Return ``installation/destination``, with the destination's current name."""
        installation = self._installations[ref.installation]
        provider = self.plugins.providers[installation.provider]
        try:
            names = {each.id: each.name for each in provider.destinations(installation)}
        except Exception as error:  # noqa: BLE001 -- a missing name costs no page
            _log.error(
                "the provider %s returned no destinations: it %s",
                provider.name,
                describe_error(error),
            )
            names = {}
        return f"{ref.installation}/{names.get(ref.destination, ref.destination)}"

    def preview(self, delivery: Delivery) -> Preview:
        """Return the request that `send` would make, secrets masked; reads no secret."""
        action = self.plugins.actions[delivery.ref.action]
        installation = self._installations[delivery.ref.installation]
        return action.preview(delivery, installation, self._sender.context(delivery))

    def assume(self, plan: Plan) -> None:
        """Remember a plan as if it had been delivered, to show the plan of a later alert."""
        if plan.remark:
            return
        self._memory.note(plan.alert)
        for ref in plan.joined:
            self._memory.join(ref, plan.alert.identity)
        for ref in plan.released:
            self._memory.release(ref, plan.alert.identity)
        for delivery in plan.deliveries:
            self._memory.record(delivery, Outcome(OutcomeKind.DELIVERED), arrived=True)


def _require_offered(plugins: Plugins, actions: Iterable[AnyAction]) -> None:
    for action in actions:
        if plugins.actions.get(action.name) is not action:
            message = f"no plugin of the host offers the action {action.name!r} of a rule"
            raise ValueError(message)


def _by_name(installations: Iterable[Installation[Any]]) -> dict[str, Installation[Any]]:
    named: dict[str, Installation[Any]] = {}
    for installation in installations:
        if named.setdefault(installation.name, installation) != installation:
            message = f"two installations are named {installation.name!r}; rename one"
            raise ValueError(message)
    return named
