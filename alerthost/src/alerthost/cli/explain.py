"""``alerthost explain``: what would be sent, why, and what was repaired; sends nothing."""

from __future__ import annotations

import json
from typing import Any, Final

from alerthost.cli.screen import Screen, printable
from alerthost.config.matchers import Matching
from alerthost.ingest.json_alerts import ParsedAlert
from hostspec.alert import Alert
from hostspec.delivery import Delivery
from hostspec.inprocess.host import Host
from hostspec.plugins import Rule
from hostspec.values import to_json

SHOWN: Final = 1500
"""Characters of one text that a person is shown at most; no summary is cut."""


def explain(host: Host, statement: ParsedAlert) -> dict[str, Any]:
    """Explain one statement as JSON; the host then takes all of it for delivered.

    So an alert that resolves what an earlier line opened is shown as it would be sent.
    """
    if statement.alert is None:
        return {"place": statement.location, "faults": to_json(list(statement.faults))}
    alert = statement.alert
    plan = host.plan(alert)
    explained = {
        "place": statement.location,
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


def _explain_rule(rule: Rule, alert: Alert) -> dict[str, Any]:
    matchers = rule.matches.matchers if isinstance(rule.matches, Matching) else ()
    return {
        "rule": rule.name,
        "matches": rule.matches(alert),
        "matchers": [
            {
                "matcher": str(matcher),
                "value": matcher.value_of(alert),
                "matches": matcher.matches(alert),
            }
            for matcher in matchers
        ],
    }


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


def show(explained: dict[str, Any], screen: Screen) -> None:
    """Show an explanation to a person."""
    if "faults" in explained:
        for fault in explained["faults"]:
            path = f"{fault['path']}: " if fault["path"] else ""
            screen.complain(printable(f"{explained['place']}: {path}{fault['reason']}"))
        return
    alert = explained["alert"]
    head = f"{explained['place']}: {alert['key']} is {alert['status']}, {alert['severity']}"
    screen.say(printable(head), "bold")
    for rule in explained["rules"]:
        style = "green" if rule["matches"] else "dim"
        screen.say(printable(f"  rule {rule['rule']!r} {_why(rule)}"), style)
    for repair in explained["repairs"]:
        told = f"  repaired {repair['field']}: {repair['reason']}"
        screen.say(printable(told), "yellow")
    for failure in explained["failures"]:
        screen.say(printable(f"  {failure['path']}: {failure['reason']}"), "red")
    for suppression in explained["suppressions"]:
        by = f" by {suppression['plugin']}" if suppression["plugin"] else ""
        told = f"  suppressed{by} at {suppression['installation']}: {suppression['reason']}"
        screen.say(printable(told), "yellow")
        for note in suppression["notes"]:
            screen.say(printable(f"    note: {note}"), "yellow")
    if not explained["deliveries"]:
        why = f": {explained['remark']}" if explained["remark"] else ""
        screen.say(f"  nothing would be sent{why}", "dim")
    for delivery in explained["deliveries"]:
        _show_delivery(delivery, screen)
    screen.say()


def _why(rule: dict[str, Any]) -> str:
    if not rule["matchers"]:
        return "matches every alert"
    if rule["matches"]:
        reasons = (f"{each['matcher']} ({each['value']})" for each in rule["matchers"])
        return f"matches: {', '.join(reasons)}"
    misses = (
        f"{each['matcher']} (it is {each['value']!r})"
        for each in rule["matchers"]
        if not each["matches"]
    )
    return f"does not match: {', '.join(misses)}"


def _show_delivery(delivery: dict[str, Any], screen: Screen) -> None:
    by = ", ".join(repr(rule) for rule in delivery["rules"])
    asked = f" (asked for by {by})" if by else ""
    screen.say(printable(f"  {delivery['operation']} to {delivery['where']}{asked}"), "cyan")
    for note in delivery["notes"]:
        screen.say(printable(f"    note: {note}"), "yellow")
    screen.give(printable(f"    {delivery['target']}"))
    body = json.dumps(_shortened(delivery["body"]), ensure_ascii=False, indent=2)
    for line in body.splitlines():
        screen.give(printable(f"    {line}"))


def _shortened(json_value: Any) -> Any:
    """Shorten endless texts, so that what matters stays on the screen."""
    match json_value:
        case str() if len(json_value) > SHOWN:
            left = len(json_value) - SHOWN
            return f"{json_value[:SHOWN]}… and {left:,} characters more, as --json shows"
        case dict():
            return {name: _shortened(each) for name, each in json_value.items()}
        case list() | tuple():
            return [_shortened(each) for each in json_value]
        case _:
            return json_value
