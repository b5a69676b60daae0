"""``alerthost explain``: shows what would be sent and why, and sends nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from alerthost.cli.options import command, with_config
from alerthost.cli.output import Screen
from alerthost.config import configuration, explanation
from alerthost.config.document import ConfigFile
from alerthost.ingest import json_alerts
from alerthost.ingest.json_alerts import ParsedAlert
from alerthost.outbox.expected_heartbeat import ExpectedHeartbeat
from hostspec.inprocess.host import Host
from hostspec.values import to_json

SHOWN: Final = 1500
"""Characters of one text that are shown, at most; summaries are shorter."""


@command("Show what would be sent, and why.", example="alerthost explain alerts.jsonl")
@with_config
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per alert.")
@click.argument("file", type=click.File("rb"), default="-")
def explain(path: Path, *, as_json: bool, file: BinaryIO) -> None:
    """Show what `send` would send and why, without sending it. Needs no secret.

    For each alert in FILE (default: standard input): the matching rules, the repairs, and the
    exact JSON of each delivery, with its key masked. Each alert is explained as if all earlier
    ones had been delivered.
    """
    loaded = configuration.load(ConfigFile.read(path))
    host = Host(loaded.plugins, loaded.rules)
    heartbeats = loaded.heartbeats
    screen = Screen()
    for fault in loaded.rule_faults():
        screen.warn(str(fault))
    all_read = True
    for submission in json_alerts.parse_files([file]):
        explained = _explain(host, submission, heartbeats)
        all_read = all_read and "faults" not in explained
        if as_json:
            screen.print_json(explained)
        else:
            _show(explained, screen)
        if screen.is_broken:
            break
    screen.exit(success=all_read)


def _explain(
    host: Host, submission: ParsedAlert, heartbeats: Sequence[ExpectedHeartbeat]
) -> dict[str, Any]:
    """Explain one submission as JSON, or list its faults."""
    place = {"place": submission.location}
    if submission.alert is None:
        return {**place, "faults": to_json(list(submission.faults))}
    return {**place, **explanation.explain(host, submission.alert, heartbeats)}


def _show(explained: dict[str, Any], screen: Screen) -> None:
    place = explained["place"]
    if "faults" in explained:
        for fault in explained["faults"]:
            path = f"{fault['path']}: " if fault["path"] else ""
            screen.print_error(f"{place}: {path}{fault['reason']}")
        return
    alert = explained["alert"]
    heading = f"{place}: {alert['key']} is {alert['status']}, severity {alert['severity']}"
    screen.print(heading, "bold")
    for rule in explained["rules"]:
        style = "green" if rule["matches"] else "dim"
        times = f"; {'; '.join(rule['times'])}" if rule["matches"] and rule["times"] else ""
        screen.print(f"  rule {rule['rule']!r} {_why(rule)}{times}", style)
    for repair in explained["repairs"]:
        screen.print(f"  repaired {repair['field']}: {repair['reason']}", "yellow")
    for failure in explained["failures"]:
        screen.print(f"  {failure['path']}: {failure['reason']}", "red")
    for suppression in explained["suppressions"]:
        by = f" by {suppression['plugin']}" if suppression["plugin"] else ""
        text = f"  suppressed{by} at {suppression['installation']}: {suppression['reason']}"
        screen.print(text, "yellow")
        for note in suppression["notes"]:
            screen.print(f"    note: {note}", "yellow")
    if not explained["deliveries"]:
        why = f": {explained['remark']}" if explained["remark"] else ""
        screen.print(f"  nothing would be sent{why}", "dim")
    for delivery in explained["deliveries"]:
        _show_delivery(delivery, screen)
    screen.print()


def _why(rule: dict[str, Any]) -> str:
    if not rule["matchers"]:
        return "matches every alert"
    if rule["matches"]:
        reasons = (f"{each['matcher']} ({each['value']})" for each in rule["matchers"])
        return f"matches: {', '.join(reasons)}"
    misses = (
        f"{each['matcher']} (the value is {each['value']!r})"
        for each in rule["matchers"]
        if not each["matches"]
    )
    return f"does not match: {', '.join(misses)}"


def _show_delivery(delivery: dict[str, Any], screen: Screen) -> None:
    rules = ", ".join(repr(rule) for rule in delivery["rules"])
    by = f" (by {rules})" if rules else ""
    screen.print(f"  {delivery['operation']} to {delivery['where']}{by}", "cyan")
    for note in delivery["notes"]:
        screen.print(f"    note: {note}", "yellow")
    screen.print_unwrapped(f"    {delivery['target']}")
    body = json.dumps(_shortened(delivery["body"]), ensure_ascii=False, indent=2)
    for line in body.splitlines():
        screen.print_unwrapped(f"    {line}")


def _shortened(json_value: Any) -> Any:
    """Shorten long texts."""
    match json_value:
        case str() if len(json_value) > SHOWN:
            left = len(json_value) - SHOWN
            return f"{json_value[:SHOWN]}… ({left:,} more characters; see --json)"
        case dict():
            return {name: _shortened(each) for name, each in json_value.items()}
        case list() | tuple():
            return [_shortened(each) for each in json_value]
        case _:
            return json_value
