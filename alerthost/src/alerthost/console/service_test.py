"""The page of a service's test: opens an incident, acknowledges it, and closes it."""

from __future__ import annotations

from typing import Final

import attrs

from alerthost.config.document import refuse
from alerthost.config.plugins import destinations_of
from alerthost.config.service_test import ServiceTest, target_of
from alerthost.console.view import Html, View
from alerthost.outbox.activity import Change
from hostspec.delivery import Outcome, OutcomeKind

PAUSES: Final = (1.0,)
"""Seconds before each further attempt to close the incident; the browser waits meanwhile."""


@attrs.frozen
class Answer:
    """A message of the test, and the answer of the provider.

    Attributes:
        operation: its effect on the incident.
        target: where it went, such as a method and a URL.
        seconds: that it took.
    """

    operation: str
    target: str
    outcome: Outcome
    seconds: float


def run(view: View) -> Html:
    """Run the test, and show the answers of the provider."""
    number = view.fields.get("id", "")
    with view.open_accounts() as accounts:
        installation = accounts.find_valid(view.account)
        provider = accounts.provider(installation.provider)
        found = {each.id: each for each in destinations_of(provider, installation)}
        if number not in found:
            refuse("", f"there is no service {number!r}")
        target = target_of(accounts.plugins, installation, found[number])
        if target is None:
            refuse("", f"{provider.label} cannot be tested: no action is limited to one service")
        test = ServiceTest(accounts.plugins, target, "the console of alerthost")
    steps = list(test.run(PAUSES))
    result = "delivered" if test.success else "failed"
    view.admin.record(view.actor, Change("tested", target.name, "", result))
    values = {
        "account": view.account,
        "name": target.name,
        "key": test.key,
        "answers": [
            Answer(
                str(each.delivery.operation),
                test.host.preview(each.delivery).target,
                each.outcome or Outcome(OutcomeKind.UNCERTAIN),
                step.seconds,
            )
            for step in steps
            for each in step.report.receipts
        ],
        "failures": [str(each) for step in steps for each in step.report.plan.failures],
        "suppressions": [each.reason for step in steps for each in step.report.plan.suppressions],
        "success": test.success,
        "still_open": bool(test.held),
    }
    return Html("service_test.html", values)
