"""Heartbeats, from the configuration to the lists: over HTTP, by commands, in the console."""

from __future__ import annotations

import json
import re
import time

import pytest
from browsing import Browser
from serving import TOKEN, Start, ask, measured, measured_when, post
from workspace import Workspace, line

from alerthost.cli import heartbeats as commands
from alerthost.outbox.expected_heartbeat import ExpectedHeartbeat, HeartbeatRow
from alerthost.store.errors import StoreError
from alerthost_client import Client

RULE = ("match = ['severity=~\"error|critical\"', 'team=\"data\"']", "")
HEARTBEATS = """
[[heartbeats]]
key = "backup"
every = "1h"
grace = "5m"
severity = "critical"
labels = { team = "data" }

[[heartbeats]]
key = "prometheus"
every = "5m"
match = ['class="Watchdog"']
"""
WATCHDOG = '{"key": "w", "summary": "W", "severity": "info", "class": "Watchdog"}\n'


@pytest.fixture(autouse=True)
def _with_heartbeats(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Add heartbeats to each configuration of the workspace."""
    configure = Workspace.configure

    def with_heartbeats(self: Workspace, *changes: tuple[str, str]) -> None:
        configure(self, RULE, *changes)
        with (self.folder / "alerthost.toml").open("a", encoding="utf-8") as file:
            file.write(HEARTBEATS)

    monkeypatch.setattr(Workspace, "configure", with_heartbeats)
    workspace.configure()


def test_a_posted_sign_of_life_is_recorded(start: Start) -> None:
    url = start().url
    before = time.time()
    reply = ask(url, "POST", "/heartbeats/backup")
    assert reply.status == 200
    assert reply.json["key"] == "backup"
    seen = measured(url)
    assert seen["alerthost_heartbeat_missed", "backup"] == 0
    assert seen["alerthost_heartbeat_missed", "prometheus"] == 0
    assert seen["alerthost_heartbeat_heard_timestamp_seconds", "backup"] >= before
    assert ("alerthost_heartbeat_heard_timestamp_seconds", "prometheus") not in seen
    assert seen["alerthost_requests_total", "/heartbeats", "200"] == 1


@pytest.mark.parametrize(
    ("request_line", "status", "error"),
    [
        (
            "POST /heartbeats/backups",
            404,
            "the heartbeat 'backups' is unknown; did you mean 'backup'?",
        ),
        ("GET /heartbeats/backup", 405, "method GET is not allowed; use POST"),
        ("POST /heartbeats", 404, "not found; post alerts to /alerts or /ingest/alertmanager"),
    ],
)
def test_other_requests_are_rejected(
    start: Start, request_line: str, status: int, error: str
) -> None:
    reply = ask(start().url, *request_line.split())
    assert (reply.status, reply.json["error"]) == (status, error)


def test_a_web_page_cannot_send_a_sign_of_life(start: Start) -> None:
    reply = ask(start().url, "POST", "/heartbeats/backup", headers={"Origin": "null"})
    assert (reply.status, reply.json["error"]) == (403, "a web page cannot send a heartbeat")


def test_a_sign_of_life_needs_the_token(start: Start) -> None:
    url = start(http='token = "env:ALERTHOST_TOKEN"').url
    assert ask(url, "POST", "/heartbeats/backup").status == 401
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert ask(url, "POST", "/heartbeats/backup/", headers=bearer).status == 200


def test_a_failing_store_is_reported(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    running = start()

    def fail(*_: object) -> None:
        message = "the disk is gone"
        raise StoreError(message)

    with monkeypatch.context() as patch:
        patch.setattr(running._app.backend.engine._writer, "run", fail)
        reply = ask(running.url, "POST", "/heartbeats/backup")
    assert (reply.status, reply.headers["retry-after"]) == (503, "10")
    assert reply.json["error"] == "nothing was recorded: the store cannot be written"


def test_a_command_sends_and_lists_signs_of_life(workspace: Workspace) -> None:
    listed = workspace.alerthost("heartbeats").stdout
    assert re.findall("backup|prometheus|awaited|never", listed) == [
        *("backup", "awaited", "never"),
        *("prometheus", "awaited", "never"),
    ]
    run = workspace.alerthost("heartbeat", "backup")
    assert (run.returncode, run.stdout[:36]) == (0, "heard; the next one is missed after ")
    rows = json.loads(workspace.alerthost("heartbeats", "--json").stdout)
    assert [(row["key"], row["state"], row["missed_at"]) for row in rows] == [
        ("backup", "heard", None),
        ("prometheus", "awaited", None),
    ]
    assert (rows[0]["every"], rows[0]["grace"], rows[1]["grace"]) == (3600, 300, 60)
    assert rows[0]["heard_at"] < rows[0]["due"]
    run = workspace.alerthost("heartbeat", "backups")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "the heartbeat 'backups' is unknown; did you mean 'backup'?\n"


def test_a_missed_one_is_listed_and_pages(
    start: Start, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert workspace.alerthost("heartbeat", "backup").returncode == 0
    running = start()
    with running._app.backend.engine.database.begin() as connection:
        connection.exec_driver_sql("UPDATE expected_heartbeats SET due = 1 WHERE key = 'backup'")
    key = "heartbeat/backup"
    workspace.fake.wait_for(
        lambda fake: [each.dedup_key for each in fake.incidents] == [key] * 2, 60
    )

    page = Browser(running.url).open("/console/")
    [backup, prometheus] = [row for row in page.rows() if row[0] in {"backup", "prometheus"}]
    assert backup[1] == "missed"
    assert backup[3].startswith("missed ")
    assert (prometheus[1:3], prometheus[3][:3]) == (["awaited", "never"], "in ")
    run = workspace.alerthost("heartbeats")
    assert "missed" in run.stdout
    assert measured(running.url)["alerthost_heartbeat_missed", "backup"] == 1

    ask(running.url, "POST", "/heartbeats/backup")
    workspace.fake.wait_for(
        lambda fake: [each.state for each in fake.incidents] == ["resolved"] * 2, 60
    )


def test_a_watchdog_is_explained_and_pages_no_one(start: Start, workspace: Workspace) -> None:
    run = workspace.alerthost("explain", given=WATCHDOG)
    assert "  nothing would be sent: feeds the heartbeat prometheus\n" in run.stdout
    assert "to acme/checkout" in workspace.alerthost("explain", given=line()).stdout
    running = start()
    post(running.url, WATCHDOG)
    assert running._app.backend.engine.wait_idle(60)
    assert ("alerthost_heartbeat_heard_timestamp_seconds", "prometheus") in measured(running.url)
    assert not workspace.fake.requests


def test_an_alert_that_a_client_left_in_a_spool_feeds_a_heartbeat(
    start: Start, workspace: Workspace
) -> None:
    """It was fired while alerthost was down."""
    heard = ("alerthost_heartbeat_heard_timestamp_seconds", "import")
    match = """
[[heartbeats]]
key = "import"
every = "1d"
match = ['key="import/done"']

[spool]
path = "left"
"""
    with Client("http://127.0.0.1:1", spool=workspace.folder / "left") as client:
        assert client.fire("import/done")
    before = time.time()
    running = start(http=match)
    assert measured_when(running.url, lambda found: heard in found)[heard] >= before
    assert not workspace.fake.requests


def test_without_heartbeats_none_is_listed(workspace: Workspace) -> None:
    workspace.configure_bare()
    run = workspace.alerthost("heartbeats")
    assert run.stdout == "No heartbeat is expected; add [[heartbeats]] to the file.\n"


def test_check_lists_what_is_expected(workspace: Workspace) -> None:
    lines = workspace.alerthost("check").stdout.splitlines()
    assert [each for each in lines if each.startswith("heartbeat")] == [
        "heartbeat      backup: every 1h + 5m, severity critical",
        "heartbeat      prometheus: every 5m + 1m, severity error",
    ]
    found = json.loads(workspace.alerthost("check", "--json").stdout)
    assert found["heartbeats"][0]["key"] == "backup"


def test_a_heartbeat_that_no_rule_matches_is_noted(workspace: Workspace) -> None:
    assert "heartbeat" not in workspace.alerthost("check").stderr
    file = workspace.folder / "alerthost.toml"
    text = file.read_text(encoding="utf-8").replace(
        'name = "Pages"', "name = 'Pages'\nmatch = ['a=b']"
    )
    file.write_text(text, encoding="utf-8")
    run = workspace.alerthost("check")
    for key in ("backup", "prometheus"):
        note = f"heartbeat '{key}': no rule matches its alert, so a missed one pages no one"
        assert note in " ".join((run.stdout + run.stderr).split())


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('key = "backup"', 'key = "a b"', "key: is not a key; use up to 100 letters, digits and"),
        ('every = "1h"', "", "every: missing; it is required"),
        ('every = "1h"', 'every = ""', "every: is too short; the least is 10s"),
        ('every = "1h"', 'every = "hourly"', "every: is not a duration; use for example 90s"),
        ('grace = "5m"', 'grace = "30s"', "grace: is too short; the least is 1m"),
        ('"critical"\nlabels', '"bad"\nlabels', "severity: 'bad' is unknown; "),
        ('key = "backup"', 'key = "prometheus"', "key: 'prometheus' is defined twice"),
        ("class=", "clas~", "match[0]: "),
    ],
)
def test_faults_of_heartbeats_are_located(
    workspace: Workspace, old: str, new: str, fault: str
) -> None:
    file = workspace.folder / "alerthost.toml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    run = workspace.alerthost("check")
    assert run.returncode == 2
    assert f": {fault}" in run.stderr
    assert "alerthost.toml, line " in run.stderr
    assert ": heartbeat '" in run.stderr


def test_the_due_time_of_a_list_is_in_words() -> None:
    row = HeartbeatRow(ExpectedHeartbeat(key="a", every=3600, grace=60), 100.0, 3760.0)
    assert commands._cells(row, 160.0) == ("a", "heard", "1 min ago", "in 1h", "1h + 1m")
