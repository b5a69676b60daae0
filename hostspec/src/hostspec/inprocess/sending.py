"""Plans and sends for the in-process host, and reports the results."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from hostspec.alert import Alert, Status
from hostspec.delivery import Delivery, Receipt, SendContext
from hostspec.errors import log_message
from hostspec.inprocess.memory import IncidentMemory
from hostspec.plugins.isolation import make_attempt
from hostspec.plugins.limited_log import LimitedLog
from hostspec.plugins.planning import LATE_REPEAT, Incidents, Plan, plan_alert
from hostspec.plugins.registry import Plugins, Rule
from hostspec.provider import Installation

_log = logging.getLogger("hostspec")
_planning_log = logging.getLogger("hostspec.planning")


@attrs.frozen
class Sender:
    """Plans by rules, makes attempts, and reports them to observers and the log."""

    plugins: Plugins
    rules: tuple[Rule, ...]
    installations: Mapping[str, Installation[Any]]
    memory: IncidentMemory

    def plan(self, alert: Alert, incidents: Incidents) -> Plan:
        """Plan an alert, unless it repeats the episode that ended last."""
        if self.memory.is_late_repeat(alert):
            return Plan(alert, (), (), remark=LATE_REPEAT)
        return self.plan_episode(alert, incidents)

    def plan_episode(self, alert: Alert, incidents: Incidents) -> Plan:
        """Plan an alert that is known not to be a late repeat."""
        alert = alert.as_of(dt.datetime.now(dt.UTC))
        return plan_alert(self.plugins, incidents, alert, self.rules)

    def context(self, delivery: Delivery) -> SendContext:
        """Return the context of an attempt, with the incident's handle."""
        incident = self.memory.at(delivery.ref)
        return SendContext(handle=incident.handle if incident else None)

    def send(self, delivery: Delivery, receipt_id: str) -> Receipt:
        """Make one attempt, and remember its outcome."""
        action = self.plugins.actions[delivery.ref.action]
        installation = self.installations[delivery.ref.installation]
        attempt = make_attempt(action, delivery, installation, self.context(delivery))
        self.memory.record(delivery, attempt.outcome, arrived=attempt.may_have_arrived)
        return Receipt(receipt_id, delivery, attempt.outcome)

    def notify(self, receipt: Receipt) -> None:
        """Notify the observers of a finished delivery."""
        hook = "hostspec_delivered" if is_delivered(receipt) else "hostspec_undelivered"
        self.plugins.hooks.each(hook, receipt=receipt)


@attrs.frozen
class Report:
    """The result of one alert; ``str`` returns one line for each receipt, with its reason.

    There is a receipt for each delivery of the plan. A receipt without an outcome has a reason:
    the host's ``timeout`` was over. Its ``attempts`` is 1 if the attempt is still in flight, and
    observers will be notified of its end; 0 if none was made.
    """

    plan: Plan
    receipts: tuple[Receipt, ...]

    @property
    def delivered(self) -> bool:
        """Whether the providers accepted every delivery, and there was at least one."""
        return bool(self.receipts) and not self.failed

    @property
    def unmatched(self) -> bool:
        """Whether no rule is asked that matches, and no incident is open: nothing is sent."""
        plan = self.plan
        return not (plan.rules or plan.refs or plan.failures or plan.remark)

    @property
    def suppressed(self) -> bool:
        """Whether a plugin suppressed a delivery."""
        return bool(self.plan.suppressions)

    @property
    def failed(self) -> bool:
        """Whether a delivery could not be planned, or was not accepted by its provider."""
        return bool(self.plan.failures) or not all(map(is_delivered, self.receipts))

    def raise_for_undelivered(self) -> None:
        """Raise where a due notification was not delivered.

        A suppression is a plugin's decision and does not raise, nor does an acknowledge or
        resolve without an open incident.

        Raises:
            UndeliveredError: something failed, or no rule matches a firing alert.
        """
        if self.failed or (self.unmatched and self.plan.alert.status is Status.FIRING):
            raise UndeliveredError(self)

    def __str__(self) -> str:
        return "\n".join((*map(describe_receipt, self.receipts), *self._other_lines()))

    def undelivered(self) -> tuple[str, ...]:
        """Return a line for each failure and each suppression."""
        failed = (receipt for receipt in self.receipts if not is_delivered(receipt))
        return (*map(describe_receipt, failed), *self._other_lines())

    def _other_lines(self) -> Iterator[str]:
        yield from map(str, self.plan.failures)
        for suppression in self.plan.suppressions:
            by = f" by {suppression.plugin}" if suppression.plugin else ""
            where = f"{suppression.action} {suppression.installation}"
            yield f"{where}: suppressed{by}: {suppression.reason}"
        if self.unmatched:
            prefix = "unmatched: " if self.plan.alert.status is Status.FIRING else ""
            yield f"{prefix}{_why_unmatched(self.plan.alert)}"
        elif not (self.receipts or self.plan.failures or self.plan.suppressions):
            yield self.plan.remark or "nothing to send"


class UndeliveredError(Exception):
    """An alert was not delivered; the message lists each failure with its reason."""

    def __init__(self, report: Report) -> None:
        self.report = report
        super().__init__(report)

    def __str__(self) -> str:
        lines = "; ".join(self.report.undelivered())
        return f"alert {self.report.plan.alert.key!r} was not delivered: {lines}"


def is_delivered(receipt: Receipt) -> bool:
    """Check whether the provider accepted a delivery."""
    return receipt.outcome is not None and receipt.outcome.delivered


def describe_receipt(receipt: Receipt) -> str:
    """Return a receipt on one line: operation, destination, outcome and reason."""
    ref, outcome = receipt.delivery.ref, receipt.outcome
    kind = outcome.kind if outcome else "not sent" if receipt.attempts == 0 else "in flight"
    reason = receipt.reason or (outcome.reason if outcome and not outcome.delivered else "")
    words = f"{receipt.delivery.operation} {ref.installation}/{ref.destination}: {kind}"
    return " ".join(f"{words}: {reason}".split()) if reason else words


def log_receipt(receipt: Receipt) -> None:
    """Log a delivery that its provider did not accept."""
    if not is_delivered(receipt):
        key, described = receipt.delivery.alert.key, describe_receipt(receipt)
        log_message(_log, logging.ERROR, "alert %s: %s", key, described)


def log_report(report: Report, without_incident: LimitedLog) -> None:
    """Log every reason why an alert may not have caused a notification.

    A program may report each success: follow-ups without an open incident are logged once a minute
    for each scope.
    """
    without_incident.flush()
    plan, key = report.plan, report.plan.alert.key
    for receipt in report.receipts:
        log_receipt(receipt)
    for failure in plan.failures:
        log_message(_planning_log, logging.ERROR, "alert %s: %s", key, failure)
    for suppression in plan.suppressions:
        message = "alert %s: suppressed by %s: %s"
        log_message(_log, logging.WARNING, message, key, suppression.plugin, suppression.reason)
    if plan.remark:
        log_message(_log, logging.INFO, "alert %s: %s", key, plan.remark)
    if report.unmatched and plan.alert.status is Status.FIRING:
        log_message(_log, logging.WARNING, "alert %s: %s", key, _why_unmatched(plan.alert))
    elif report.unmatched:
        text = f"alert {key}: {_why_unmatched(plan.alert)}"
        without_incident.write(plan.alert.scope, "no incident", text, logging.INFO)


def _why_unmatched(alert: Alert) -> str:
    why = "no rule matches" if alert.status is Status.FIRING else "no open incident"
    return f"{why}, nothing is sent"
