"""``alerthost explain`` shows messages and reasons, offline and without secrets."""

from __future__ import annotations

import json
import subprocess
import sys

from recorder import Page, plugins_of
from workspace import Workspace, line

from alerthost.config.explanation import explain
from hostspec import Alert
from hostspec.inprocess import Host
from hostspec.plugins import Rule


def test_rules_reasons_repairs_and_the_exact_json_are_shown(workspace: Workspace) -> None:
    (workspace.folder / "a.jsonl").write_text(line(severity="FATAL", owner="me"), encoding="utf-8")

    run = workspace.alerthost("explain", "a.jsonl", env={"PD_CHECKOUT": None})

    assert (run.returncode, run.stderr) == (0, "")
    text = run.stdout
    assert text.startswith("line 1: db-1/disk is firing, severity critical\n")
    assert (
        """  rule 'Pages' matches: severity=~"error|critical" (critical), team="data" (data)\n"""
        in text
    )
    assert "  repaired owner: not a field of an alert; moved into its details\n" in text
    assert "  trigger to acme/checkout (by 'Pages')\n" in text
    assert f"    POST {workspace.fake.url}/v2/enqueue\n" in text
    assert '      "routing_key": "******** (env:PD_CHECKOUT)",\n' in text
    assert workspace.fake.requests == ()


def test_the_explained_json_is_sent(workspace: Workspace) -> None:
    lines = line(details={"used": 0.98}) + line(status="acknowledged") + line(status="resolved")

    explained = workspace.alerthost("explain", "--json", given=lines)
    workspace.alerthost("send", given=lines)

    bodies = [
        delivery["body"] | {"routing_key": "masked"}
        for text in explained.stdout.splitlines()
        for delivery in json.loads(text)["deliveries"]
    ]
    assert bodies == [body | {"routing_key": "masked"} for body in workspace.bodies()]
    assert len(bodies) == 6


def test_a_rule_that_does_not_match_is_shown_with_the_values(workspace: Workspace) -> None:
    run = workspace.alerthost("explain", given=line(labels={"team": "web"}, severity="info"))

    assert run.returncode == 0
    assert (
        """  rule 'Pages' does not match: severity=~"error|critical" (the value is 'info'), """
        """team="data" (the value is 'web')\n  nothing would be sent\n"""
    ) in run.stdout


def test_a_rule_without_matchers_matches_every_alert(workspace: Workspace) -> None:
    workspace.configure(("""match = ['severity=~"error|critical"', 'team="data"']\n""", ""))

    run = workspace.alerthost("explain", given=line())

    assert "  rule 'Pages' matches every alert\n" in run.stdout


def test_later_lines_are_explained_as_if_the_earlier_were_delivered(workspace: Workspace) -> None:
    resolve = '{"key": "db-1/disk", "status": "resolved", "summary": "over", "severity": "info"}\n'

    run = workspace.alerthost("explain", given=line() + resolve)

    reported = run.stdout[run.stdout.index("line 2:") :]
    assert "rule 'Pages' does not match" in reported
    assert "  resolve to acme/checkout (by 'Pages')\n" in reported


def test_invalid_lines_are_shown_and_the_exit_code_is_1(workspace: Workspace) -> None:
    run = workspace.alerthost("explain", given='{"key": 1, "status": "gone"}\n[]\n' + line())

    assert run.returncode == 1
    assert run.stderr.splitlines() == [
        'line 1: status: "gone" is unknown; known are firing, acknowledged, resolved',
        "line 2: an empty list; expected at least one alert",
    ]
    assert "line 3: db-1/disk is firing" in run.stdout


def test_json_has_one_object_per_line(workspace: Workspace) -> None:
    run = workspace.alerthost("explain", "--json", given="[]\n" + line(severity="odd"))

    faulty, explained = map(json.loads, run.stdout.splitlines())
    assert run.returncode == 1
    assert faulty == {
        "place": "line 1",
        "faults": [{"path": "", "reason": "an empty list; expected at least one alert"}],
    }
    assert explained["alert"] == {"key": "db-1/disk", "status": "firing", "severity": "error"}
    assert explained["rules"][0]["matchers"][1] == {
        "matcher": 'team="data"',
        "value": "data",
        "matches": True,
    }
    assert explained["repairs"] == [
        {"field": "severity", "reason": '"odd" is unknown; taken as error'}
    ]
    assert [each["destination"] for each in explained["deliveries"]] == ["checkout", "platform"]


def test_no_line_is_wrapped_off_a_terminal(workspace: Workspace) -> None:
    run = workspace.alerthost(
        "explain", given=line(summary="x" * 500), env={"COLUMNS": "40", "FORCE_COLOR": "1"}
    )

    assert f'        "summary": "{"x" * 500}",\n' in run.stdout
    assert "\x1b" not in run.stdout


def test_a_pipe_closed_early_causes_no_traceback(workspace: Workspace) -> None:
    (workspace.folder / "a.jsonl").write_text(line() * 2000, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "-m", "alerthost", "explain", "a.jsonl"],
        cwd=workspace.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


def test_a_resolve_is_explained_as_if_its_alert_had_fired(workspace: Workspace) -> None:
    run = workspace.alerthost("explain", given=line(status="resolved"))
    assert "  resolve to acme/checkout" in run.stdout


def test_a_rule_of_another_host_has_no_times() -> None:
    host = Host(plugins_of(Page()), [Rule("all", [], lambda _alert: True)])
    explained = explain(host, Alert("db-1/disk", status="resolved"))
    assert [(each["rule"], each["times"]) for each in explained["rules"]] == [("all", [])]
