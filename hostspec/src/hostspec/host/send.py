"""``alerthost send``: alerts in, deliveries out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import attrs

from hostspec.host.screen import Screen, columns, printable
from hostspec.host.statements import Statement
from hostspec.incident import Delivery, Suppression
from hostspec.kernel.host import Host, Report
from hostspec.normalise import Repair
from hostspec.outcome import Outcome, OutcomeKind, Receipt

_WIDTHS = (13, 11, 16)
_STYLES = {OutcomeKind.DELIVERED: "green", OutcomeKind.THROTTLED: "yellow"}


@attrs.define
class Tally:
    """What was counted."""

    statements: int = 0
    faulty: int = 0
    failures: int = 0
    unmatched: int = 0
    suppressed: int = 0
    repairs: int = 0
    outcomes: Counter[OutcomeKind] = attrs.field(factory=Counter)

    @property
    def all_well(self) -> bool:
        """Whether every line was understood and every delivery delivered."""
        undelivered = self.outcomes.total() - self.outcomes[OutcomeKind.DELIVERED]
        return not (self.faulty or self.failures or undelivered)


class Sending:
    """Sends what statements ask for, in their order, shows each delivery, and counts."""

    def __init__(self, host: Host, screen: Screen) -> None:
        self.tally = Tally()
        self._host = host
        self._screen = screen

    def send(self, statement: Statement) -> Sequence[Repair]:
        """Send what one statement asks for.

        Returns:
            what was repaired, for the caller to show where it suits.
        """
        self.tally.statements += 1
        if statement.alert is None:
            self.tally.faulty += 1
            for fault in statement.faults:
                self._screen.complain(printable(f"{statement.place}: {fault}"))
            return ()
        report = self._host.handle(statement.alert)
        self._show(report, statement.place)
        self.tally.repairs += len(report.plan.repairs)
        return report.plan.repairs

    def _show(self, report: Report, place: str) -> None:
        alert = report.plan.alert
        for failure in report.plan.failures:
            self.tally.failures += 1
            self._screen.complain(printable(f"{place}: {failure}"))
        if not report.plan.rules and not report.receipts:
            self.tally.unmatched += 1
            nowhere = ("no rule", str(alert.status), "", printable(alert.key))
            self._screen.say(columns(nowhere, _WIDTHS), "dim")
        for receipt in report.receipts:
            self._show_receipt(receipt)
        for suppression in report.plan.suppressions:
            self.tally.suppressed += 1
            told = (suppression.installation, alert.key, suppression.reason)
            cells = ("suppressed", str(alert.status), *map(printable, told))
            self._screen.say(columns(cells, _WIDTHS), "yellow")
            self._show_notes(suppression)

    def _show_receipt(self, receipt: Receipt) -> None:
        delivery = receipt.delivery
        outcome = receipt.outcome or Outcome(OutcomeKind.UNCERTAIN)
        self.tally.outcomes[outcome.kind] += 1
        cells = [
            str(outcome.kind),
            str(delivery.operation),
            printable(self._host.name_of(delivery.place)),
            printable(delivery.alert.key),
        ]
        if not outcome.delivered:
            cells.append(printable(outcome.reason))
        self._screen.say(columns(cells, _WIDTHS), _STYLES.get(outcome.kind, "red"))
        self._show_notes(delivery)

    def _show_notes(self, planned: Delivery | Suppression) -> None:
        for note in planned.notes:
            self._screen.note(note)


def summary(tally: Tally) -> str:
    """Put the tally in one line."""
    told = [f"{tally.statements} {_plural('alert', tally.statements)}"]
    total = tally.outcomes.total()
    kinds = ", ".join(
        f"{tally.outcomes[kind]} {kind}" for kind in OutcomeKind if tally.outcomes[kind]
    )
    told.append(
        f"{total} {'delivery' if total == 1 else 'deliveries'}{f' ({kinds})' if kinds else ''}"
    )
    for count, text in (
        (tally.faulty, f"faulty {_plural('line', tally.faulty)}"),
        (tally.failures, f"{_plural('failure', tally.failures)} to plan"),
        (tally.unmatched, "matched no rule"),
        (tally.suppressed, "suppressed"),
        (tally.repairs, _plural("repair", tally.repairs)),
    ):
        if count:
            told.append(f"{count} {text}")
    return ", ".join(told)


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
