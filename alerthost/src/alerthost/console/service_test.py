"""A test of one service: opens an incident, acknowledges it, and closes it."""

from __future__ import annotations

import secrets

import attrs

from alerthost.config.document import refuse
from alerthost.config.plugins import action_for, destinations_of
from alerthost.console.view import Html, View
from alerthost.outbox.activity import Change
from hostspec.alert import Alert, Severity, Status
from hostspec.inprocess.host import Host
from hostspec.plugins import Rule, RuleAction


@attrs.frozen
class Step:
    """A message of the test.

    Attributes:
        operation: its effect on the incident.
        outcome: the kind of outcome; empty if it was not sent.
        reason: in the words of the provider.
        target: where it went, such as a method and a URL.
        is_good: whether the provider accepted it.
    """

    operation: str
    outcome: str
    reason: str
    target: str
    is_good: bool


def run(view: View) -> Html:
    """Run the test, and show the answers of the provider."""
    number = view.fields.get("id", "")
    with view.open_accounts() as accounts:
        installation = accounts.find_valid(view.account)
        provider = accounts.provider(installation.provider)
        found = {each.id: each for each in destinations_of(provider, installation)}
        if number not in found:
            refuse("", f"there is no service {number!r}")
        usable = action_for(accounts.plugins, installation, found[number])
        if usable is None:
            refuse("", f"{provider.label} cannot be tested: no action is limited to one service")
        action, settings = usable
        use = RuleAction(action, installation, settings)
        rule = Rule("alerthost test", [use], lambda alert: alert.status is Status.FIRING)
        host = Host(accounts.plugins, [rule])
    name = f"{view.account}/{found[number].name}"
    key = f"alerthost-test/{secrets.token_hex(8)}"
    steps: list[Step] = []
    for status in (Status.FIRING, Status.ACKNOWLEDGED, Status.RESOLVED):
        report = host.handle(_alert(key, name, status))
        for receipt in report.receipts:
            outcome = receipt.outcome
            assert outcome is not None  # noqa: S101 -- a host without a time limit waits for it
            steps.append(
                Step(
                    str(receipt.delivery.operation),
                    str(outcome.kind),
                    outcome.reason,
                    host.preview(receipt.delivery).target,
                    outcome.delivered,
                )
            )
    still_open = bool(host.held_by(_alert(key, name, Status.RESOLVED).identity))
    success = bool(steps) and all(each.is_good for each in steps) and not still_open
    result = "delivered" if success else "failed"
    view.admin.record(view.actor, Change("tested", name, "", result))
    values = {
        "account": view.account,
        "name": name,
        "key": key,
        "steps": steps,
        "success": success,
        "still_open": still_open,
    }
    return Html("service_test.html", values)


def _alert(key: str, name: str, status: Status) -> Alert:
    return Alert(
        key,
        f"Test of {name} by alerthost; no action needed",
        status=status,
        severity=Severity.INFO,
        source="alerthost",
        details={"test": "Sent by the console of alerthost, which closes it at once."},
    )
