"""The HTTP responses of ``alerthost run``, its authentication and its metrics."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import json
import sqlite3
import threading
import time
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from serving import JSON, TOKEN, Start, ask, connected, measured, measured_when, post
from waiting import wait_until
from workspace import CHECKOUT, Workspace

from alerthost.cli import server as running_module
from alerthost.cli.server import Server
from alerthost.config.plugins import LaneNames
from alerthost.http import app as app_module
from alerthost.http import listener as listener_module
from alerthost.http.readiness import CACHED_FOR, Readiness
from alerthost.outbox.admin_rows import Blocked
from alerthost.store.errors import UnknownCommitError
from hostspec.delivery import IncidentRef
from pagerduty_plugin.testing import late, refusing
from pagerduty_plugin.testing.misbehaviour import Gate, failing

ALERT = {"key": "db-1/disk", "severity": "critical", "labels": {"team": "data"}}
BEARER = f"Bearer {TOKEN}"


@pytest.fixture
def url(start: Start) -> str:
    return start().url


def submission_of(reply: Any) -> Any:
    (found,) = reply.json["submissions"]
    return found


def wait_for_incidents(workspace: Workspace, count: int) -> None:
    workspace.fake.wait_for(lambda fake: len(fake.incidents) == count, 30)


def test_posted_alert_is_delivered(url: str, workspace: Workspace) -> None:
    reply = post(url, {**ALERT, "severity": "kinda bad"})

    assert reply.status == 202
    assert submission_of(reply) == {
        "id": submission_of(reply)["id"],
        "scope": "",
        "key": "db-1/disk",
        "status": "firing",
        "repairs": [
            {"field": "severity", "reason": '"kinda bad" is unknown; taken as error'},
            {"field": "summary", "reason": "missing or blank; replaced by the key"},
        ],
    }
    wait_for_incidents(workspace, 2)
    assert {body["dedup_key"] for body in workspace.bodies()} == {"db-1/disk"}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (json.dumps([{"key": "a"}, {"key": "b"}]), "application/json"),
        ('{"key": "a"}\n{"key": "b"}\n', "application/json"),
        ('{"key": "a"}\n\n{"key": "b"}', "application/x-ndjson; charset=utf-8"),
        ('\ufeff[{"key": "a"}, {"key": "b"}]', "Application/JSON"),
    ],
)
def test_several_alerts_are_posted_as_a_list_or_lines(url: str, body: str, kind: str) -> None:
    reply = ask(url, "POST", "/alerts", body, {"Content-Type": kind})

    assert reply.status == 202
    assert [each["key"] for each in reply.json["submissions"]] == ["a", "b"]
    assert len({each["id"] for each in reply.json["submissions"]}) == 2


@pytest.mark.parametrize("path", ["alertmanager", "grafana"])
def test_empty_group_is_accepted(url: str, path: str) -> None:
    reply = post(url, {"alerts": []}, f"/ingest/{path}")
    assert (reply.status, reply.json) == (202, {"submissions": []})


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        (
            '{"key": "a"}\n{"kee": "b"}\n{"key": "c", "status": "on"}',
            [
                ("line 2", "key", "missing or blank; it names the problem"),
                ("line 3", "status", '"on" is unknown; known are firing, acknowledged, resolved'),
            ],
        ),
        ('[{"key": "a"}, 7]', [("alert 2", "", "not a JSON object")]),
        ("7", [("", "", "not a JSON object")]),
        ("[]", [("", "", "an empty list; expected at least one alert")]),
        (
            "[]\n[]",
            [(f"line {n}", "", "an empty list; expected at least one alert") for n in (1, 2)],
        ),
        ('{"key": ', [("", "", "not JSON: Expecting value at character 9")]),
    ],
)
def test_faulty_request_is_rejected_with_every_fault(
    url: str, workspace: Workspace, body: str, faults: list[tuple[str, str, str]]
) -> None:
    reply = post(url, body)

    assert reply.status == 400
    assert reply.json["error"] == "nothing was accepted"
    expected = [(each["location"], each["path"], each["reason"]) for each in reply.json["faults"]]
    assert expected == faults
    assert count_submissions(workspace) == 0


def count_submissions(workspace: Workspace) -> int:
    with contextlib.closing(sqlite3.connect(workspace.folder / "alerthost.db")) as database:
        return int(database.execute("SELECT count(*) FROM submissions").fetchone()[0])


def test_empty_body_is_rejected(url: str) -> None:
    assert post(url, " \n").json == {"error": "the body has no alert"}


def test_repeated_request_is_accepted_once(url: str, workspace: Workspace) -> None:
    content = [ALERT, {**ALERT, "key": "db-2/disk"}]
    first = post(url, content, Idempotency_Key="batch-7")
    again = post(url, content, Idempotency_Key="batch-7")
    assert first.json == again.json
    assert count_submissions(workspace) == 2

    # a key that stays the same by mistake costs no alert
    other = post(url, [ALERT, {**ALERT, "key": "db-3/disk"}], Idempotency_Key="batch-7")
    assert not {each["id"] for each in other.json["submissions"]} & {
        each["id"] for each in first.json["submissions"]
    }
    without = post(url, content)
    assert without.status == 202
    assert count_submissions(workspace) == 6


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, "application/json or application/jsonl"),
        ({"Content-Type": "text/plain"}, "Content-Type"),
        ({**JSON, "Content-Encoding": "gzip"}, "send the body uncompressed"),
    ],
)
def test_unsupported_content_types_are_rejected(
    url: str, headers: dict[str, str], expected: str
) -> None:
    reply = ask(url, "POST", "/alerts", b"{}", headers)
    assert reply.status == 415
    assert expected in reply.json["error"]


def test_webhook_accepts_no_json_lines(url: str) -> None:
    kind = {"Content-Type": "application/x-ndjson"}
    assert ask(url, "POST", "/ingest/alertmanager", b"{}", kind).status == 415


def test_other_methods_and_paths_are_rejected(url: str) -> None:
    reply = ask(url, "GET", "/alerts")
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    assert ask(url, "POST", "/healthz").status == 405
    reply = ask(url, "GET", "/nowhere")
    assert (reply.status, reply.json["error"].partition(";")[0]) == (404, "not found")


def test_size_of_a_body_is_limited(start: Start) -> None:
    url = start(http="largest_body = 1024").url
    fits = json.dumps({"key": "a" * (1024 - len('{"key": ""}'))})

    assert post(url, fits).status == 202
    reply = post(url, fits + " ")
    too_large = {"error": "the body has more than 1024 bytes (http.largest_body)"}
    assert (reply.status, reply.json) == (413, too_large)
    # one that does not say how long it is
    assert ask(url, "POST", "/alerts", iter([fits.encode(), b" "]), JSON).status == 413
    assert ask(url, "POST", "/alerts", iter([fits.encode()]), JSON).status == 202


def test_slow_body_is_rejected(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alerthost.http.request.BODY_WITHIN", 0.01)
    with connected(url) as client:
        client.sendall(HALF)
        assert client.recv(4096).startswith(b"HTTP/1.1 408 ")


HALF = (
    b"POST /alerts HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b'Content-Length: 13\r\n\r\n{"key"'
)


def test_disconnected_client_is_logged_and_counted(
    url: str, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    with connected(url) as client:
        client.sendall(HALF)
    assert post(url, ALERT).status == 202
    wait_for_incidents(workspace, 2)
    left = "the connection was closed before the end of the body"
    rejected = f"rejected POST /alerts from 127.0.0.1: 400: {left}"
    wait_until(lambda: rejected in caplog.messages)
    counted = ("alerthost_rejected_requests_total", "/alerts", "disconnected", "400")
    assert measured(url)[counted] == 1
    assert [each for each in caplog.records if each.name.startswith("uvicorn")] == []


def test_unfinished_requests_are_rejected_at_the_stop(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alerthost.http.listener.ANSWER_WITHIN", 0)
    running = start()
    with connected(running.url) as client:
        client.sendall(HALF)
        assert ask(running.url, "GET", "/healthz").status == 200  # the half is there before
        assert running.stop()
        answer = client.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 10\r\n" in answer
    assert answer.endswith(b'{"error":"alerthost is stopping; retry"}')


def test_host_header_must_be_local_without_a_token(url: str) -> None:
    for host in ("localhost", "127.0.0.1:9095", "[::1]:9095", url.removeprefix("http://")):
        assert post(url, ALERT, Host=host).status == 202, host
    for host in ("rebound.example", "rebound.example:9095", "10.0.0.1", "", "a b"):
        assert post(url, ALERT, Host=host).status == 403, host


def test_request_without_the_token_is_rejected(start: Start) -> None:
    url = start(http='token = "env:ALERTHOST_TOKEN"').url

    for given in (
        "",
        TOKEN,
        f"Basic {TOKEN}",
        basic("wrong"),
        "Bearer wrong",
        "Bearer",
        f"Bearer {TOKEN}é",
    ):
        for method, path in (
            ("POST", "/alerts"),
            ("POST", "/ingest/alertmanager"),
            ("GET", "/metrics"),
        ):
            reply = ask(url, method, path, b"{", {**JSON, "Authorization": given})
            assert reply.status == 401, (given, path)
            assert reply.headers["www-authenticate"] == 'Bearer, Basic realm="alerthost"'
    for given in (BEARER, f"bearer {TOKEN}", basic(TOKEN)):
        assert post(url, ALERT, Authorization=given, Host="anything.example").status == 202
    assert ask(url, "GET", "/metrics", headers={"Authorization": BEARER}).status == 200
    for path in ("/healthz", "/readyz"):
        assert ask(url, "GET", path).status == 200


def basic(password: str) -> str:
    return f"Basic {base64.b64encode(f'alertmanager:{password}'.encode()).decode()}"


def test_token_is_read_for_each_request(
    start: Start, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    token = workspace.folder / "token"
    token.write_text("first")
    url = start(http='token = "file:token"').url

    assert post(url, ALERT, Authorization="Bearer first").status == 202
    token.write_text("second\n")
    assert post(url, ALERT, Authorization="Bearer first").status == 401
    assert post(url, ALERT, Authorization="Bearer second").status == 202
    token.unlink()
    reply = post(url, ALERT, Authorization="Bearer second")
    assert (reply.status, reply.headers["retry-after"]) == (503, "10")
    assert reply.json == {"error": "the token cannot be read by alerthost"}
    assert "token cannot be read: No such file" in caplog.text


def test_full_backlog_rejects_requests(start: Start, workspace: Workspace) -> None:
    gate = Gate()
    workspace.fake.misbehave(late(gate))
    url = start(http="backlog = 4").url

    assert post(url, ALERT).status == 202
    assert post(url, {**ALERT, "key": "db-2/disk"}).status == 202
    reply = post(url, {**ALERT, "key": "db-3/disk"})
    assert (reply.status, reply.headers["retry-after"]) == (429, "10")
    assert reply.json["error"].startswith("backlog full ")
    assert reply.json["error"].endswith("; see http.backlog); retry after 10 s")
    assert ask(url, "GET", "/readyz").status == 200
    gate.open()
    wait_for_incidents(workspace, 4)
    # until it is counted again
    wait_until(lambda: post(url, {**ALERT, "key": "db-3/disk"}).status != 429)
    wait_for_incidents(workspace, 6)


def test_failing_store_rejects_requests(
    start: Start,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    running = start()
    assert post(running.url, ALERT).status == 202
    wait_for_incidents(workspace, 2)
    database = running_database(running)
    monkeypatch.setattr(database, "begin", broken)
    monkeypatch.setattr(database, "read", broken)

    for _ in range(2):
        reply = post(running.url, {**ALERT, "key": "db-9/disk"})
        assert (reply.status, reply.headers["retry-after"]) == (503, "10")
        assert reply.json == {"error": "nothing was accepted: the store cannot be written"}
    assert "the store fails: the disk is full" in caplog.text
    reply = ask(running.url, "GET", "/readyz")
    assert (reply.status, reply.json["reasons"]) == (503, ["the store fails"])
    assert ask(running.url, "GET", "/healthz").status == 200
    assert not [name for name, *_ in measured(running.url) if "backlog" in name]
    monkeypatch.undo()
    assert count_submissions(workspace) == 1


def test_readiness_needs_a_writable_store(
    start: Start, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    workspace.fake.misbehave(late(gate))
    running = start()
    assert post(running.url, ALERT).status == 202
    workspace.fake.wait_for(lambda fake: len(fake.requests) >= 1, 30)
    with monkeypatch.context() as patched:
        patched.setattr(running_database(running), "begin", broken)
        gate.open()
        wait_until(lambda: ask(running.url, "GET", "/readyz").status != 200)
        reply = ask(running.url, "GET", "/readyz")
    assert (reply.status, reply.json["reasons"]) == (503, ["the store fails"])
    wait_until(lambda: ask(running.url, "GET", "/readyz").status != 503)


@pytest.mark.parametrize("works", [True, False])
def test_deleted_store_is_reported_and_not_ready_at_once(
    start: Start, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, *, works: bool
) -> None:
    """The store is checked before the next round of maintenance."""
    monkeypatch.setattr("alerthost.outbox.maintenance.KEEP", 3600.0)
    running = start(works=works)
    assert post(running.url, ALERT).status == 202
    assert ask(running.url, "GET", "/readyz").status == 200
    (workspace.folder / "alerthost.db").unlink()

    reply = post(running.url, {**ALERT, "key": "db-9/disk"})

    ready = ask(running.url, "GET", "/readyz")
    assert (ready.status, ready.json["reasons"]) == (503, ["the store fails"])
    assert (reply.status, reply.headers["retry-after"]) == (503, "10")
    assert reply.json["error"].startswith("the alert may be lost: the store was deleted")
    assert reply.json["error"].endswith("; post it again")


def test_commit_with_unknown_result_is_reported(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start()
    engine = running._app.backend.engine

    def lost(*_: object) -> None:
        raise UnknownCommitError("the server: the connection was lost during a commit")

    with monkeypatch.context() as patched:
        patched.setattr(engine._submission_writer, "write", lost)
        reply = post(running.url, ALERT)
    assert (reply.status, reply.headers["retry-after"]) == (503, "10")
    assert reply.json["error"].startswith(
        "the connection to the store was lost, and it is not known"
    )
    assert "Idempotency-Key" in reply.json["error"]
    assert post(running.url, ALERT).status == 202


def test_failed_write_makes_a_process_unready_until_it_works_again(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without workers, which would find it too."""
    running = start(works=False)
    with monkeypatch.context() as patched:
        patched.setattr(running_database(running), "begin", broken)
        assert post(running.url, ALERT).status == 503
        assert ask(running.url, "GET", "/readyz").json["reasons"] == ["the store fails"]
    wait_until(lambda: ask(running.url, "GET", "/readyz").status == 200)


def broken(**_: Any) -> Any:
    from alerthost.store.errors import StoreError

    raise StoreError("the disk is full")


def running_database(running: Server) -> Any:
    return running._app.backend.engine.database


def test_readiness_needs_workers_but_no_provider(start: Start, workspace: Workspace) -> None:
    workspace.fake.misbehave(failing())
    running = start()
    assert post(running.url, ALERT).status == 202
    workspace.fake.wait_for(lambda fake: len(fake.requests) >= 2, 30)
    assert ask(running.url, "GET", "/readyz").json == {"ready": True}

    running._app.backend.engine.stop()
    reply = ask(running.url, "GET", "/readyz")
    assert (reply.status, reply.json["reasons"]) == (503, ["the workers do not run"])
    running._app.stopping = True
    assert ask(running.url, "GET", "/readyz").json["reasons"] == ["alerthost is stopping"]


def test_blocked_lanes_are_warnings_of_readiness(start: Start, workspace: Workspace) -> None:
    workspace.fake.misbehave(refusing("Invalid routing key"), key=CHECKOUT)
    running = start()
    assert post(running.url, ALERT).status == 202
    wanted = ["acme/checkout is blocked until it is fixed"]
    deadline = time.monotonic() + 60
    while (reply := ask(running.url, "GET", "/readyz")).json == {"ready": True}:
        assert time.monotonic() < deadline
    assert (reply.status, reply.json) == (200, {"ready": True, "warnings": wanted})


def test_warnings_of_readiness_are_bounded_and_cached() -> None:
    ref = IncidentRef("pagerduty.trigger", "acme", "0", "key")
    found = [Blocked(attrs.evolve(ref, destination=str(n)), "", 0.0, 1) for n in range(12)]
    admin = SimpleNamespace(deliveries=lambda most: (), blocked=lambda: found)
    engine: Any = SimpleNamespace(admin=admin, working=True, check_store=lambda: None)
    now = 0.0
    readiness = Readiness(works=True, clock=lambda: now)

    for _ in range(2):
        state = readiness.check(engine, LaneNames())
        assert (state["ready"], len(state["warnings"])) == (True, 11)
        assert state["warnings"][9:] == [
            "acme/7 is blocked until it is fixed",
            "2 more lanes are blocked",
        ]
        found = []
    now += CACHED_FOR
    assert readiness.check(engine, LaneNames()) == {"ready": True}


def test_deliveries_are_measured(start: Start, workspace: Workspace) -> None:
    workspace.fake.misbehave(refusing("Event object is invalid"), times=1, key=CHECKOUT)
    gate = Gate()
    workspace.fake.misbehave(late(gate), times=1, key="platform" * 4)
    workspace.fake.misbehave(failing(), times=1, key="platform" * 4)
    url = start().url
    post(url, {**ALERT, "summary": "x" * 2000})
    workspace.fake.wait_for(lambda fake: len(fake.requests) >= 1, 30)
    during = measured(url)
    assert during["alerthost_backlog", "deliveries"] >= 1
    assert during["alerthost_oldest_queued_seconds",] > 0
    gate.open()
    post(url, [{**ALERT, "key": "db-2/disk"}, {"nothing": 1}])
    post(url, {**ALERT, "key": "db-2/disk", "made up": 1})
    wait_for_incidents(workspace, 3)

    wanted = {
        ("alerthost_delivered_total", "acme/platform", "pagerduty"): 2.0,
        ("alerthost_delivered_total", "acme/checkout", "pagerduty"): 1.0,
        ("alerthost_rejected_total", "acme/checkout", "pagerduty"): 1.0,
        ("alerthost_retried_total", "acme/platform", "pagerduty", "faulted"): 1.0,
        ("alerthost_accepted_total", "/alerts"): 2.0,
        ("alerthost_requests_total", "/alerts", "202"): 2.0,
        ("alerthost_requests_total", "/alerts", "400"): 1.0,
        ("alerthost_repaired_total", "acme/platform", "pagerduty", "made up"): 1.0,
        ("alerthost_delivery_seconds_count", "acme/platform", "pagerduty"): 2.0,
        ("alerthost_backlog", "submissions"): 0.0,
        ("alerthost_backlog", "deliveries"): 0.0,
        ("alerthost_oldest_queued_seconds",): 0.0,
    }
    # observers are called after the commit
    found = measured_when(url, lambda found: wanted.items() <= found.items())
    assert {name: found.get(name) for name in wanted} == wanted
    page = ask(url, "GET", "/metrics", headers={"Accept": "application/openmetrics-text"})
    assert page.headers["content-type"].startswith("application/openmetrics-text")
    assert page.body.endswith(b"# EOF\n")
    assert CHECKOUT.encode() not in page.body


def test_requests_are_handled_in_parallel(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, released = threading.Event(), threading.Event()
    accept = app_module.HttpApp._accept

    def slow(self: Any, *arguments: Any) -> Any:
        inside.set()
        assert released.wait(60)
        return accept(self, *arguments)

    monkeypatch.setattr(app_module.HttpApp, "_accept", slow)
    replies: list[int] = []
    thread = threading.Thread(target=lambda: replies.append(post(url, ALERT).status))
    thread.start()
    assert inside.wait(60)
    assert ask(url, "GET", "/readyz").status == 200
    released.set()
    thread.join()
    assert replies == [202]


def test_requests_are_answered_before_the_stop_ends() -> None:
    assert listener_module.ANSWER_WITHIN < running_module.STOP_WITHIN < 9


def test_response_has_the_repair_of_a_time_in_the_future(start: Start) -> None:
    ahead = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=26, minutes=1)).isoformat()
    alert = {"key": "k", "summary": "s", "severity": "error", "updated_at": ahead}
    (accepted,) = post(start().url, alert).json["submissions"]
    reason = "is 26 h ahead of this host's clock; the order of acceptance counts"
    assert accepted["repairs"] == [{"field": "updated_at", "reason": reason}]


def test_response_to_a_resolve_has_only_the_repairs_that_matter(start: Start) -> None:
    (accepted,) = post(start().url, {"key": "k", "status": "resolved"}).json["submissions"]
    assert accepted["repairs"] == []
