"""``alerthost send``: requests, output and exit code."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys

import pytest
from workspace import CHECKOUT, PLATFORM, Workspace, line

from pagerduty_plugin.testing import captive_portal, failing, refusing, reset, throttling


def test_an_incident_opens_and_is_resolved_in_both_services(
    workspace: Workspace,
) -> None:
    lines = line() + line(status="acknowledged") + line(status="resolved")

    run = workspace.alerthost("send", given=lines)

    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines() == [
        "delivered      trigger      acme/checkout     db-1/disk",
        "delivered      trigger      acme/platform     db-1/disk",
        "delivered      acknowledge  acme/checkout     db-1/disk",
        "delivered      acknowledge  acme/platform     db-1/disk",
        "delivered      resolve      acme/checkout     db-1/disk",
        "delivered      resolve      acme/platform     db-1/disk",
        "3 alerts, 6 deliveries (6 delivered)",
    ]
    assert {(i.service, i.state, i.events) for i in workspace.fake.incidents} == {
        ("checkout", "resolved", 3),
        ("platform", "resolved", 3),
    }


def test_follow_ups_have_key_action_and_dedup_key_only(workspace: Workspace) -> None:
    workspace.alerthost(
        "send", given=line() + line(status="acknowledged") + line(status="resolved")
    )

    for key in (CHECKOUT, PLATFORM):
        bodies = [body for body in workspace.bodies() if body["routing_key"] == key]
        assert bodies[1:] == [
            {"routing_key": key, "event_action": action, "dedup_key": "db-1/disk"}
            for action in ("acknowledge", "resolve")
        ]


def test_a_resolve_without_a_rule_closes_an_incident_of_this_run(workspace: Workspace) -> None:
    run = workspace.alerthost(
        "send", given=line() + '{"key": "db-1/disk", "status": "resolved", "summary": "x"}\n'
    )

    assert run.returncode == 0
    assert {i.state for i in workspace.fake.incidents} == {"resolved"}


def test_a_resolve_without_a_rule_closes_an_incident_of_an_earlier_run(
    workspace: Workspace,
) -> None:
    workspace.alerthost("send", given=line())
    workspace.configure(('services = ["checkout", "platform"]', 'services = ["platform"]'))

    run = workspace.alerthost("send", given='{"key": "db-1/disk", "status": "resolved"}\n')

    assert run.returncode == 0
    assert run.stdout.splitlines() == [
        "delivered      resolve      acme/checkout     db-1/disk",
        "delivered      resolve      acme/platform     db-1/disk",
        "1 alert, 2 deliveries (2 delivered)",
    ]
    assert {i.state for i in workspace.fake.incidents} == {"resolved"}


def test_a_resolve_of_an_unknown_alert_is_a_failure_once(workspace: Workspace) -> None:
    """In a fresh workspace it may be the resolve of an incident that another one opened."""
    first = workspace.alerthost("send", given=line(status="resolved"))
    second = workspace.alerthost("send", given=line(status="resolved"))

    assert first.returncode == 1
    assert first.stdout.splitlines() == [
        "unknown        resolved                       db-1/disk  no open incident, and the alert "
        "is not known here",
        "1 alert, 0 deliveries, 1 unknown resolve",
    ]
    assert first.stderr == (
        "1 unknown resolve not sent: this store knows no alert with that key. If another process "
        "or machine opens the incident, set resolve_unknown = true on the rule, and send the "
        "resolve again\n"
    )
    assert (second.returncode, second.stderr) == (0, "")
    assert second.stdout.splitlines() == [
        "nothing sent   resolved                       db-1/disk  no open incident",
        "1 alert, 0 deliveries, 1 with nothing to send",
    ]
    assert workspace.fake.requests == ()


def test_a_rule_may_resolve_unknown_alerts(workspace: Workspace) -> None:
    """A job fails in one fresh workspace, and succeeds in another one."""
    workspace.configure(("[[rules.actions]]", "resolve_unknown = true\n[[rules.actions]]"))
    workspace.alerthost("send", given=line())
    (workspace.folder / "alerthost.db").unlink()

    run = workspace.alerthost("send", given=line(status="resolved"))

    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines() == [
        "delivered      resolve      acme/checkout     db-1/disk",
        "delivered      resolve      acme/platform     db-1/disk",
        "1 alert, 2 deliveries (2 delivered)",
    ]
    assert {incident.state for incident in workspace.fake.incidents} == {"resolved"}


def test_files_are_sent_in_order(workspace: Workspace) -> None:
    (workspace.folder / "one.jsonl").write_text(line("first"), encoding="utf-8")
    (workspace.folder / "two.jsonl").write_text("\n" + line("second") + "{}\n", encoding="utf-8")

    run = workspace.alerthost("send", "one.jsonl", "two.jsonl")

    assert run.returncode == 1
    reported = [text.split()[-1] for text in run.stdout.splitlines()[:-1]]
    assert reported == ["first", "first", "second", "second"]
    assert sorted(body["dedup_key"] for body in workspace.bodies()) == reported
    assert run.stderr == "two.jsonl: line 3: key: missing or blank; it names the problem\n"


def test_a_dash_is_standard_input(workspace: Workspace) -> None:
    run = workspace.alerthost("send", "-", given=line())

    assert run.returncode == 0
    assert len(workspace.fake.incidents) == 2


def test_invalid_lines_are_shown_and_the_others_are_sent(workspace: Workspace) -> None:
    lines = line("a") + "nonsense\n[1]\n" + '{"key": " "}\n' + line("b", status="gone") + line("c")

    run = workspace.alerthost("send", given=lines)

    assert run.returncode == 1
    reported = run.stderr.splitlines()
    assert reported[0].startswith("line 2: not a JSON object")
    assert reported[1:] == [
        "line 3, alert 1: not a JSON object",
        "line 4: key: missing or blank; it names the problem",
        'line 5: status: "gone" is unknown; known are firing, acknowledged, resolved',
    ]
    assert {incident.dedup_key for incident in workspace.fake.incidents} == {"a", "c"}
    assert run.stdout.splitlines()[-1] == "6 alerts, 4 deliveries (4 delivered), 4 faulty lines"


def test_a_repaired_alert_is_sent_and_the_repair_shown(workspace: Workspace) -> None:
    run = workspace.alerthost("send", given=line(severity="BOGUS", owner="me"))

    assert run.returncode == 0
    assert run.stderr.splitlines() == [
        "line 1: repaired owner: not a field of an alert; moved into its details",
        'line 1: repaired severity: "BOGUS" is unknown; taken as error',
    ]
    payload = workspace.bodies()[0]["payload"]
    assert payload["severity"] == "error"
    assert payload["custom_details"] == {"owner": "me", "labels": {"team": "data"}}


def test_an_unmatched_alert_is_shown_and_not_a_failure(workspace: Workspace) -> None:
    run = workspace.alerthost("send", given=line(labels={"team": "web"}))

    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines() == [
        "unmatched      firing                         db-1/disk",
        "1 alert, 0 deliveries, 1 unmatched",
    ]
    assert workspace.fake.requests == ()


def test_a_rule_without_match_matches_every_alert(workspace: Workspace) -> None:
    workspace.configure(("""match = ['severity=~"error|critical"', 'team="data"']\n""", ""))

    run = workspace.alerthost("send", given='{"key": "x", "summary": "y", "severity": "debug"}\n')

    assert run.returncode == 0
    assert workspace.bodies()[0]["payload"]["severity"] == "info"


def test_the_rule_may_set_the_severity(workspace: Workspace) -> None:
    workspace.configure(('severity = "default"', 'severity = "warning"'))

    workspace.alerthost("send", given=line())

    assert {body["payload"]["severity"] for body in workspace.bodies()} == {"warning"}


def test_two_rules_for_one_service_send_once_with_the_worst_severity(
    workspace: Workspace,
) -> None:
    second = """
[[rules]]
name = "Everything"
[[rules.actions]]
use = "pagerduty.trigger"
installation = "acme"
services = ["checkout"]
severity = "critical"
"""
    workspace.configure(('severity = "default"\n', f'severity = "info"\n{second}'))

    run = workspace.alerthost("send", given=line())

    assert run.stdout.splitlines()[-1] == "1 alert, 2 deliveries (2 delivered)"
    assert {b["routing_key"]: b["payload"]["severity"] for b in workspace.bodies()} == {
        CHECKOUT: "critical",
        PLATFORM: "info",
    }


@pytest.mark.parametrize(
    ("how", "reported"),
    [
        (throttling(), "throttled      trigger      acme/checkout     db-1/disk  429: "),
        (failing(503), "faulted        trigger      acme/checkout     db-1/disk  503: "),
        (reset(), "unreachable    trigger      acme/checkout     db-1/disk  no connection: "),
        (
            captive_portal(),
            "unreachable    trigger      acme/checkout     db-1/disk  the reply is not PagerDuty's",
        ),
    ],
    ids=["429", "503", "reset", "portal"],
)
def test_an_undelivered_alert_is_shown_and_the_exit_code_is_1(
    workspace: Workspace, how: object, reported: str
) -> None:
    workspace.fake.misbehave(how, key=CHECKOUT)

    run = workspace.alerthost("send", "--timeout", "2", given=line())

    assert run.returncode == 1
    first, second, summary = run.stdout.splitlines()
    assert first.startswith(reported)
    assert first.endswith("; will be retried")
    assert second == "delivered      trigger      acme/platform     db-1/disk"
    assert summary == "1 alert, 2 deliveries (1 delivered, 1 queued)"
    assert run.stderr.splitlines() == [
        "1 still queued; run `alerthost run` or `alerthost send` to continue",
        "list them with `alerthost deliveries`",
    ]


def test_the_next_run_sends_queued_deliveries(workspace: Workspace) -> None:
    workspace.fake.misbehave(reset())
    workspace.alerthost("send", "--timeout", "0", given=line())
    workspace.fake.behave()

    run = workspace.alerthost("send")

    assert run.stdout.endswith("(2 delivered), 1 left by earlier runs\n")
    assert {incident.service for incident in workspace.fake.incidents} == {"checkout", "platform"}


def test_a_rejection_shows_the_text_of_the_provider(workspace: Workspace) -> None:
    text = "Event object is invalid: no luck tonight"
    workspace.fake.misbehave(refusing(text), key=CHECKOUT)

    run = workspace.alerthost("send", given=line())

    assert run.returncode == 1
    assert f"rejected       trigger      acme/checkout     db-1/disk  400: {text}\n" in run.stdout


def test_an_unknown_key_is_misconfigured_with_the_text_of_pagerduty(workspace: Workspace) -> None:
    run = workspace.alerthost("send", given=line(), env={"PD_CHECKOUT": "x" * 32})

    assert run.returncode == 1
    first = run.stdout.splitlines()[0]
    assert first.startswith("misconfigured  trigger")
    assert first.endswith("Invalid routing key")


def test_an_unreadable_secret_sends_nothing(workspace: Workspace) -> None:
    (workspace.folder / "pd_platform").unlink()

    run = workspace.alerthost("send", given=line(), env={"PD_CHECKOUT": None})

    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.splitlines() == [
        "alerthost.toml, line 10: installation 'acme': settings.services[0].integration_key: "
        "the environment variable PD_CHECKOUT is not set",
        "alerthost.toml, line 11: installation 'acme': settings.services[1].integration_key: "
        f"the file {workspace.folder}/pd_platform cannot be read: No such file or directory",
    ]
    assert workspace.fake.requests == ()


def test_no_key_is_ever_shown(workspace: Workspace) -> None:
    short = "u+abcdefghijklmnop_q"

    for given in ({}, {"PD_CHECKOUT": short}, {"PD_CHECKOUT": "z" * 32}):
        run = workspace.alerthost("send", given=line(), env=given)
        shown = run.stdout + run.stderr
        assert not any(key in shown for key in (CHECKOUT, PLATFORM, short, "z" * 32))


def test_a_rest_api_key_is_an_error_before_anything_is_sent(workspace: Workspace) -> None:
    run = workspace.alerthost("send", given=line(), env={"PD_CHECKOUT": "u+abcdefghijklmnop_q"})

    assert run.returncode == 2
    assert "not an integration key" in run.stderr
    assert "REST API key" in run.stderr
    assert workspace.fake.requests == ()


def test_a_missing_file_is_an_error_and_nothing_is_sent(workspace: Workspace) -> None:
    (workspace.folder / "one.jsonl").write_text(line(), encoding="utf-8")

    run = workspace.process("send", "one.jsonl", "none.jsonl")

    assert run.returncode == 2
    assert "none.jsonl" in run.stderr
    assert workspace.fake.requests == ()


def test_control_characters_are_escaped(workspace: Workspace) -> None:
    workspace.alerthost("send", given=line("a\u001b[31m\nb"))
    run = workspace.alerthost("send", given=line("a\u001b[31m\nb"))

    assert "acme/checkout     a\\x1b[31m\\nb\n" in run.stdout
    assert workspace.bodies()[0]["dedup_key"] == "a\u001b[31m\nb"


def test_bytes_that_are_not_utf_8_and_a_byte_order_mark_are_repaired(workspace: Workspace) -> None:
    statement = line(summary="caf\u00e9").encode().replace(rb"caf\u00e9", b"caf\xe9")

    run = workspace.alerthost("send", given=b"\xef\xbb\xbf" + statement)

    assert run.returncode == 0
    assert workspace.bodies()[0]["payload"]["summary"] == "caf\ufffd"
    assert "repaired summary" in run.stderr


def test_alerts_are_sent_as_they_arrive(workspace: Workspace) -> None:
    """Alerts are sent while their pipe stays open."""
    with subprocess.Popen(
        [sys.executable, "-m", "alerthost", "send"],
        cwd=workspace.folder,
        env=workspace.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin
        process.stdin.write(line().encode())
        process.stdin.flush()
        workspace.fake.wait_for(lambda fake: len(fake.incidents) == 2)
        process.stdin.close()
        assert process.wait() == 0


def test_an_alert_with_all_fields_is_sent_completely(workspace: Workspace) -> None:
    statement = {
        "key": "db-1/disk",
        "status": "firing",
        "severity": "critical",
        "summary": "Disk full on db-1",
        "source": "db-1",
        "component": "postgres",
        "group": "storage",
        "class": "disk",
        "started_at": "2026-11-23T03:14:00Z",
        "labels": {"team": "data"},
        "details": {"used": 0.98},
        "url": "https://host.example/alerts/1",
        "links": [{"href": "https://runbooks.example/disk", "text": "Runbook"}],
        "images": [
            {"src": "https://g.example/1.png", "href": "https://g.example/1", "alt": "graph"}
        ],
    }

    run = workspace.alerthost("send", given=json.dumps(statement))

    assert (run.returncode, run.stderr) == (0, "")
    bodies = workspace.bodies()
    assert {body.pop("routing_key") for body in bodies} == {CHECKOUT, PLATFORM}
    assert bodies[0] == bodies[1]
    assert bodies[0] == {
        "event_action": "trigger",
        "dedup_key": "db-1/disk",
        "payload": {
            "summary": "Disk full on db-1",
            "source": "db-1",
            "severity": "critical",
            "timestamp": "2026-11-23T03:14:00.000Z",
            "component": "postgres",
            "group": "storage",
            "class": "disk",
            "custom_details": {"used": 0.98, "labels": {"team": "data"}},
        },
        "client_url": "https://host.example/alerts/1",
        "links": [{"href": "https://runbooks.example/disk", "text": "Runbook"}],
        "images": [
            {"src": "https://g.example/1.png", "href": "https://g.example/1", "alt": "graph"}
        ],
    }


def test_a_clock_that_was_ahead_keeps_no_incident_open(workspace: Workspace) -> None:
    now = dt.datetime.now(dt.UTC)
    ahead = (now + dt.timedelta(hours=26, minutes=1)).isoformat()
    lines = line(updated_at=ahead) + line(status="resolved", updated_at=now.isoformat())

    run = workspace.alerthost("send", given=lines)

    assert run.returncode == 0
    reason = "is 26 h ahead of this host's clock; the order of acceptance counts"
    assert f"line 1: repaired updated_at: {reason}" in run.stderr
    assert {incident.state for incident in workspace.fake.incidents} == {"resolved"}


def test_the_next_send_finishes_deliveries_of_an_earlier_one(workspace: Workspace) -> None:
    script = workspace.fake.misbehave(failing())
    first = workspace.alerthost("send", "--timeout", "0.5", given=line() + line("db-2/disk"))
    still_down = workspace.alerthost("send", "--timeout", "0.5")
    listed = workspace.alerthost("deliveries")
    shown, alone = listed.stdout, listed.stderr
    script.clear()
    assert "next attempt in" in shown
    assert "4 queued" in shown
    assert "no process delivers the queued alerts" in alone
    assert (first.returncode, still_down.returncode) == (1, 1)
    assert "4 queued), 2 left by earlier runs" in still_down.stdout

    second = workspace.alerthost("send")

    assert sorted(shown.partition("  after")[0] for shown in second.stdout.splitlines()[:-1]) == [
        f"delivered      trigger      acme/{name}     {key}"
        for name in ("checkout", "platform")
        for key in ("db-1/disk", "db-2/disk")
    ]
    assert second.stdout.splitlines()[-1].startswith("0 alerts, 4 deliveries (4 delivered), 2 left")
    assert second.returncode == 0
    assert workspace.alerthost("send").stdout == "0 alerts, 0 deliveries\n"


def test_send_resolves_an_orphaned_incident_when_its_key_is_back(
    workspace: Workspace,
) -> None:
    """Also if the resolve is still queued at the end, which is no success."""
    workspace.configure(('services = ["checkout", "platform"]', 'services = ["checkout"]'))
    workspace.alerthost("send", given=line())
    other = {"PD_CHECKOUT": "f" * 32}
    orphaned = workspace.alerthost("send", given=line(status="resolved"), env=other)
    assert (orphaned.returncode, len(workspace.fake.requests)) == (1, 1)
    assert workspace.alerthost("send", env=other).stdout == "0 alerts, 0 deliveries\n"

    script = workspace.fake.misbehave(failing())
    down = workspace.alerthost("send", "--timeout", "0.5")
    script.clear()
    assert down.returncode == 1
    assert "(1 queued), 1 left by earlier runs" in down.stdout
    assert "resolving" in workspace.alerthost("incidents").stdout

    back = workspace.alerthost("send")
    assert back.returncode == 0
    shown, counted = back.stdout.splitlines()
    assert shown.startswith("delivered      resolve      acme/checkout     db-1/disk")
    assert counted == "0 alerts, 1 delivery (1 delivered), 1 left by earlier runs"
    assert {incident.state for incident in workspace.fake.incidents} == {"resolved"}
    assert workspace.alerthost("incidents").stdout == "No incident is open.\n"


def test_send_resolves_an_orphaned_incident_after_the_newer_one(workspace: Workspace) -> None:
    """Of two incidents of one alert, under two keys, the older is resolved after the newer."""
    new = "f" * 32
    workspace.fake.add_service("moved", new)
    workspace.configure(
        ('services = ["checkout", "platform"]', 'services = ["checkout"]'),
        ('"env:PD_CHECKOUT"', '["env:PD_CHECKOUT", "env:PD_FORMER"]'),
    )
    moved = {"PD_CHECKOUT": new, "PD_FORMER": new}
    rotated = {"PD_CHECKOUT": new, "PD_FORMER": CHECKOUT}
    workspace.alerthost("send", given=line(), env={"PD_FORMER": CHECKOUT})
    workspace.alerthost("send", given=line(status="resolved"), env=moved)
    workspace.alerthost("send", given=line(), env=moved)
    assert {incident.state for incident in workspace.fake.incidents} == {"triggered"}

    freed = workspace.alerthost("send", given=line(status="resolved"), env=rotated)

    assert [incident.state for incident in workspace.fake.incidents] == ["resolved"] * 2
    assert freed.stdout.splitlines()[-1].endswith("(2 delivered), 1 left by earlier runs")
    assert freed.returncode == 0
