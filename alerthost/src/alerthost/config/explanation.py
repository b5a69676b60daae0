"""What would be sent for an alert, and why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from alerthost.config.durations import in_words
from alerthost.config.matchers import matchers_of
from alerthost.outbox.expected_heartbeat import ExpectedHeartbeat, remark_of
from alerthost.outbox.timing import TimedRule
from hostspec.alert import Alert, Status
from hostspec.delivery import Delivery
from hostspec.errors import describe_error
from hostspec.inprocess.host import Host
from hostspec.plugins import Rule, RuleAction
from hostspec.values import to_json


def explain(
    host: Host, alert: Alert, heartbeats: Iterable[ExpectedHeartbeat] = ()
) -> dict[str, Any]:
    """Return an explanation as JSON, and let the host assume that the alert was delivered.

    It has the rules and why they match, the deliveries with the exact body of each, and everything
    that was repaired, suppressed or failed. An acknowledge or resolve without an open incident is
    explained as if its alert had fired before.
    """
    if alert.status is not Status.FIRING and not host.held_by(alert.identity):
        host.assume(host.plan(attrs.evolve(alert, status=Status.FIRING)))
    plan = host.plan(alert)
    if fed := [each for each in heartbeats if each.is_fed_by(alert)]:
        plan = attrs.evolve(plan, deliveries=(), joined=(), remark=remark_of(fed))
    explained = {
        "alert": {"key": alert.key, "status": alert.status, "severity": alert.severity},
        "rules": [_explain_rule(rule, alert) for rule in host.rules],
        "deliveries": [_explain_delivery(host, delivery) for delivery in plan.deliveries],
        "suppressions": to_json(list(plan.suppressions)),
        "failures": to_json(list(plan.failures)),
        "remark": plan.remark,
        "repairs": to_json(list(plan.repairs)),
    }
    host.assume(plan)
    return explained


def describe_action(use: RuleAction) -> str:
    """Return a sentence about an action of a rule."""
    try:
        return use.action.describe(use.settings, use.installation)
    except Exception as error:  # noqa: BLE001 -- a description is not worth a failed check
        return f"{use.action.label} (no description: it {describe_error(error)})"


def _explain_rule(rule: Rule, alert: Alert) -> dict[str, Any]:
    return {
        "rule": rule.name,
        "matches": rule.matches(alert),
        "times": _describe_times(rule),
        "matchers": [
            {
                "matcher": str(matcher),
                "value": matcher.value_of(alert),
                "matches": matcher.matches(alert),
            }
            for matcher in matchers_of(rule)
        ],
    }


def _describe_times(rule: Rule) -> list[str]:
    """Return the later effects of a rule on an alert that it matches."""
    if not isinstance(rule, TimedRule):
        return []
    wait = [f"it waits {in_words(rule.wait)} whether the alert still fires"] if rule.wait else []
    after = rule.expire_after
    expires = [f"the alert expires {in_words(after)} after its last report"] if after else []
    return [*wait, *expires]


def _explain_delivery(host: Host, delivery: Delivery) -> dict[str, Any]:
    preview = host.preview(delivery)
    return {
        "operation": delivery.operation,
        "action": delivery.ref.action,
        "installation": delivery.ref.installation,
        "destination": delivery.ref.destination,
        "where": host.name_of(delivery.ref),
        "rules": list(delivery.rules),
        "target": preview.target,
        "body": preview.body,
        "notes": list(delivery.notes),
    }
