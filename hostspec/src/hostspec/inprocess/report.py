"""The report of one alert that the in-process host handled."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from hostspec.alert import Status
from hostspec.delivery import Receipt
from hostspec.plugins.planning import Plan


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
        """Whether no rule matches and no incident is open, so that nothing is sent."""
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
        resolve that no rule matches.

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
            yield "unmatched: no rule matches, nothing is sent"
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
