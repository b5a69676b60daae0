"""``alerthost send``: alerts in, deliveries out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import attrs

from hostspec.alert import Alert
from hostspec.host.screen import Progress, Screen, columns, printable
from hostspec.host.statements import Statement
from hostspec.kernel.host import Host, Report
from hostspec.outcome import Outcome, OutcomeKind, Receipt

_WIDTHS = (13, 11)
_STYLES = {OutcomeKind.DELIVERED: "green", OutcomeKind.THROTTLED: "yellow"}


@attrs.define
class Tally:
    """What was counted."""

    statements: int = 0
    faulty: int = 0
    failures: int = 0
    unmatched: int = 0
    repairs: int = 0
    outcomes: Counter[OutcomeKind] = attrs.field(factory=Counter)

    @property
    def all_well(self) -> bool:
        """Whether every line was understood and every delivery delivered."""
        undelivered = self.outcomes.total() - self.outcomes[OutcomeKind.DELIVERED]
        return not (self.faulty or self.failures or undelivered)


def send(host: Host, statements: Iterable[Statement], screen: Screen, progress: Progress) -> Tally:
    """Send what the statements ask for, in their order, and show each delivery."""
    tally = Tally()
    for statement in statements:
        tally.statements += 1
        if statement.alert is None:
            tally.faulty += 1
            for fault in statement.faults:
                screen.complain(printable(f"{statement.place}: {fault}"))
        else:
            _show(host.handle(statement.alert), statement.place, screen, tally)
        progress.advance()
    return tally


def _show(report: Report, place: str, screen: Screen, tally: Tally) -> None:
    alert = report.plan.alert
    for repair in report.plan.repairs:
        tally.repairs += 1
        screen.complain(printable(f"{place}: repaired {repair.field}: {repair.reason}"), "yellow")
    for failure in report.plan.failures:
        tally.failures += 1
        screen.complain(printable(f"{place}: {failure}"))
    if not report.plan.rules and not report.receipts:
        tally.unmatched += 1
        screen.say(columns(("no rule", str(alert.status), printable(alert.key)), _WIDTHS), "dim")
    for receipt in report.receipts:
        _show_receipt(receipt, alert, screen, tally)


def _show_receipt(receipt: Receipt, alert: Alert, screen: Screen, tally: Tally) -> None:
    place = receipt.delivery.place
    outcome = receipt.outcome or Outcome(OutcomeKind.UNCERTAIN)
    tally.outcomes[outcome.kind] += 1
    told = f"{place.installation}/{place.destination}  {alert.key}"
    if not outcome.delivered:
        told += f"  {outcome.reason}"
    line = columns((str(outcome.kind), str(receipt.delivery.operation), printable(told)), _WIDTHS)
    screen.say(line, _STYLES.get(outcome.kind, "red"))
    for note in receipt.delivery.notes:
        screen.complain(printable(f"note: {note}"), "yellow")


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
        (tally.repairs, _plural("repair", tally.repairs)),
    ):
        if count:
            told.append(f"{count} {text}")
    return ", ".join(told)


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
