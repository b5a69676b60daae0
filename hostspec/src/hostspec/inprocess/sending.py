"""Plans by rules, makes attempts, and reports them to observers and the log."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping
from typing import Any

import attrs

from hostspec.alert import Alert, Status
from hostspec.delivery import Delivery, Receipt, SendContext
from hostspec.errors import log_message
from hostspec.inprocess.memory import Memory
from hostspec.inprocess.report import Report, is_delivered, line
from hostspec.plugins.attempt import make_attempt
from hostspec.plugins.planning import LATE_REPEAT, Incidents, Plan, PlanBuilder
from hostspec.plugins.registry import Plugins
from hostspec.provider import Installation
from hostspec.rules import Rule

_log = logging.getLogger("hostspec")
_planning_log = logging.getLogger("hostspec.planning")


@attrs.frozen
class Sending:
    """What a host does with one alert or delivery, in no order and without waiting for another.

    Attributes:
        plugins: that it uses.
        rules: that it applies.
        installations: by name.
        memory: of open incidents.
    """

    plugins: Plugins
    rules: tuple[Rule, ...]
    installations: Mapping[str, Installation[Any]]
    memory: Memory

    def begin(self, alert: Alert, incidents: Incidents) -> Plan:
        """Plan an alert, unless it repeats the episode that ended last."""
        if self.memory.is_late_repeat(alert):
            return Plan(alert, (), (), remark=LATE_REPEAT)
        return self.plan(alert, incidents)

    def plan(self, alert: Alert, incidents: Incidents) -> Plan:
        """Plan an alert by these incidents."""
        alert = alert.as_of(dt.datetime.now(dt.UTC))
        planning = PlanBuilder(self.plugins, incidents, alert)
        matching = [rule for rule in self.rules if planning.matches(rule)]
        if alert.status is not Status.FIRING:
            planning.follow_up()
        for rule in matching:
            planning.open(rule)
        return planning.plan(matching)

    def context(self, delivery: Delivery) -> SendContext:
        """Return the context of an attempt, with the incident's handle."""
        incident = self.memory.at(delivery.ref)
        return SendContext(handle=incident.handle if incident else None)

    def send(self, delivery: Delivery, receipt_id: str) -> Receipt:
        """Make one attempt, and remember its outcome."""
        action = self.plugins.actions[delivery.ref.action]
        installation = self.installations[delivery.ref.installation]
        made = make_attempt(action, delivery, installation, self.context(delivery))
        self.memory.settle(delivery, made.outcome, arrived=made.may_have_arrived)
        return Receipt(receipt_id, delivery, made.outcome)

    def tell(self, receipt: Receipt) -> None:
        """Notify the observers of a finished delivery."""
        hook = "hostspec_delivered" if is_delivered(receipt) else "hostspec_undelivered"
        self.plugins.hooks.each(hook, receipt=receipt)

    def log_receipt(self, receipt: Receipt) -> None:
        """Log a delivery that its provider did not take."""
        if not is_delivered(receipt):
            log_message(
                _log, logging.ERROR, "alert %s: %s", receipt.delivery.alert.key, line(receipt)
            )

    def log_report(self, report: Report) -> None:
        """Log every reason why an alert may not have been notified."""
        key = report.plan.alert.key
        for receipt in report.receipts:
            self.log_receipt(receipt)
        for failure in report.plan.failures:
            log_message(_planning_log, logging.ERROR, "alert %s: %s", key, failure)
        for suppression in report.plan.suppressions:
            message = "alert %s: suppressed by %s: %s"
            log_message(_log, logging.WARNING, message, key, suppression.plugin, suppression.reason)
        if report.plan.remark:
            log_message(_log, logging.INFO, "alert %s: %s", key, report.plan.remark)
        if report.unmatched and report.plan.alert.status is Status.FIRING:
            log_message(_log, logging.WARNING, "alert %s: no rule matches, nothing is sent", key)
