"""Rejected requests, and skipped alerts: the response, the log and the metric."""

from __future__ import annotations

import json
import logging
import threading
from typing import Any

import pytest
from serving import JSON, Start, answer, ask, connected, measured, post
from waiting import wait_until
from workspace import Workspace

from alerthost.http import responses
from alerthost.http.request import LARGE
from alerthost.http.responses import shortened
from alerthost.ingest import json_alerts
from hostspec import Alert
from hostspec.normalisation import Repair
from pagerduty_plugin.testing import late
from pagerduty_plugin.testing.misbehaviour import Gate

ALERTMANAGER = "/ingest/alertmanager"


def alert(fingerprint: str, **changes: Any) -> dict[str, Any]:
    """Return an alert as Alertmanager posts it."""
    return {
        "status": "firing",
        "labels": {"alertname": "DiskFull", "severity": "critical"},
        "annotations": {},
        "startsAt": "2026-11-23T03:14:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prom.example:9090/graph",
        "fingerprint": fingerprint,
        **changes,
    }


def group(*alerts: Any) -> dict[str, Any]:
    """Return a group as Alertmanager posts it."""
    return {"version": "4", "status": "firing", "receiver": "alerthost", "alerts": alerts}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING and "rejected" in record.getMessage()
    ]


def test_alertmanager_is_asked_to_retry_on_a_full_backlog(
    start: Start, workspace: Workspace
) -> None:
    gate = Gate()
    workspace.fake.misbehave(late(gate))
    url = start(http="backlog = 1").url
    blocker = {"key": "blocker", "severity": "critical", "labels": {"team": "data"}}
    assert post(url, blocker).status == 202

    reply = post(url, group(alert("q9")), ALERTMANAGER)
    assert (reply.status, reply.headers["retry-after"]) == (503, "10")
    reply = post(url, {"key": "other"})
    assert (reply.status, reply.headers["retry-after"]) == (429, "10")
    found = measured(url)
    assert found["alerthost_rejected_requests_total", ALERTMANAGER, "backlog_full", "503"] == 1
    assert found["alerthost_rejected_requests_total", "/alerts", "backlog_full", "429"] == 1
    gate.open()


def test_valid_alerts_of_a_group_are_accepted(
    start: Start, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    url = start((", 'team=\"data\"'", "")).url
    nameless = {"status": "firing", "labels": {}, "annotations": {"summary": "x"}}

    reply = post(url, group(alert("p1"), alert("p2"), nameless), ALERTMANAGER)

    assert reply.status == 202
    assert [each["key"] for each in reply.json["submissions"]] == ["DiskFull/p1", "DiskFull/p2"]
    (fault,) = reply.json["faults"]
    assert (fault["location"], fault["path"]) == ("alerts[2]", "fingerprint")
    workspace.fake.wait_for(lambda fake: len(fake.incidents) == 4, 30)
    skipped = (
        "skipped 1 faulty alerts of 3 posted to /ingest/alertmanager from 127.0.0.1: alerts[2]:"
    )
    assert skipped in caplog.text
    found = measured(url)
    assert found["alerthost_faulty_alerts_total", ALERTMANAGER] == 1
    assert found["alerthost_accepted_total", ALERTMANAGER] == 2


def test_storm_is_one_group_of_2500_alerts(start: Start) -> None:
    url = start().url
    alerts = [alert(f"{n:016x}", annotations={"description": "x" * 1500}) for n in range(2500)]

    reply = post(url, group(*alerts), ALERTMANAGER)

    assert reply.status == 202
    assert len(reply.json["submissions"]) == 2500


def test_too_large_group_is_an_error_with_the_remedy(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    url = start(http="largest_body = 1024").url

    assert post(url, group(alert("a" * 1024)), ALERTMANAGER).status == 413
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "1024 bytes (http.largest_body); this group of alerts is lost" in record.getMessage()
    assert "max_alerts" in record.getMessage()


def test_number_of_alerts_in_a_request_is_limited(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    url = start(http="most_alerts = 3").url
    four = [{"key": str(n)} for n in range(4)]

    for content in (four, "\n".join(json.dumps(each) for each in four)):
        reply = post(url, content)
        error = "more than 3 alerts in one request (http.most_alerts)"
        assert (reply.status, reply.json) == (413, {"error": error})
    assert post(url, four[:3]).status == 202
    assert not [each for each in caplog.records if each.levelno == logging.ERROR]
    assert post(url, group(*[alert(str(n)) for n in range(4)]), ALERTMANAGER).status == 413
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "more than 3 alerts in one request (http.most_alerts)" in record.getMessage()
    assert "max_alerts" in record.getMessage()


def test_number_of_values_in_a_body_is_limited(start: Start) -> None:
    url = start().url
    for dense in ("[" + "0," * 1_100_000 + "0]", "[" * 1_100_000):
        reply = post(url, dense)
        assert reply.status == 413
        assert reply.json["error"].startswith("the body has more than 1,000,000 values")
    assert post(url, {"key": "long", "details": {"text": "x" * 3_000_000}}).status == 202


REJECTED = [
    ("POST", ALERTMANAGER, JSON, '{"alerts": [7]}', 400, "faulty"),
    ("POST", ALERTMANAGER, JSON, "{", 400, "faulty"),
    ("POST", "/alerts", JSON, " ", 400, "empty"),
    ("POST", "/alerts", {}, '{"key": "a"}', 415, "content_type"),
    ("POST", "/alerts", {**JSON, "Content-Encoding": "gzip"}, "{}", 415, "content_encoding"),
    ("POST", "/alerts", {**JSON, "Host": "rebound.example"}, "{}", 403, "host"),
    ("PUT", ALERTMANAGER, JSON, "{}", 405, "method"),
    ("A" * 1000, "/metrics", {}, "", 405, "method"),
    ("POST", "/v2/enqueue", JSON, "{}", 404, "path"),
    ("POST", "/alerts", JSON, " " * 2000, 413, "too_large"),
]


def test_rejected_requests_are_logged_and_counted(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    url = start(http="largest_body = 1024").url
    counted: dict[tuple[str, ...], float] = {}
    lines = []
    for method, path, headers, body, status, reason in REJECTED:
        reply = ask(url, method, path, body, headers)
        assert reply.status == status, reason
        line = (
            f"rejected {shortened(method)} {path} from 127.0.0.1: {status}: {reply.json['error']}"
        )
        lines.append(line)
        label = path if path in (ALERTMANAGER, "/alerts", "/metrics") else "other"
        name = ("alerthost_rejected_requests_total", label, reason, str(status))
        counted[name] = counted.get(name, 0) + 1

    assert counted.items() <= measured(url).items()
    assert len(warnings(caplog)) == len(lines)
    for logged, line in zip(warnings(caplog), lines, strict=True):
        assert logged.startswith(line)


def test_each_reason_of_a_rejection_is_logged(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """A reason with another value is the same reason."""
    running = start()
    for _ in range(2):
        for faulty in ({"key": "a", "status": "on"}, {"key": "b", "status": "off"}, {"key": ""}):
            assert post(running.url, faulty).status == 400
        for wrong in (7, {**alert(""), "labels": {}}):
            assert post(running.url, group(alert("a"), wrong), ALERTMANAGER).status == 202

    rejected = warnings(caplog)
    assert len(rejected) == 2
    assert '"on" is unknown' in rejected[0]
    assert "key: missing or blank" in rejected[1]
    skipped = [text for text in caplog.messages if text.startswith("skipped")]
    assert len(skipped) == 2
    caplog.clear()
    running.stop()
    rest = [each.getMessage() for each in caplog.records if each.name == "hostspec"]
    counts = [text.split(" more like this were not logged: ")[0] for text in rest]
    assert counts == ["3", "1", "1", "1"]


def test_supported_charsets(start: Start, workspace: Workspace) -> None:
    url = start((", 'team=\"data\"'", "")).url
    text = json.dumps({"key": "é", "summary": "größer"}, ensure_ascii=False)
    for charset in ("iso-8859-1", "latin1", "UTF-8", "utf8", "utf-16", '"utf-8"'):
        headers = {"Content-Type": f"application/json; charset={charset}"}
        reply = ask(url, "POST", "/alerts", text.encode(charset.strip('"')), headers)
        assert reply.status == 202
        assert reply.json["submissions"][0]["key"] == "é"
        for wrong, status in (("klingon", 415), ("idna", 415), ("utf-16", 400)):
            headers = {"Content-Type": f"application/json; charset={wrong}"}
            reply = ask(url, "POST", "/alerts", b"{", headers)
            assert (reply.status, "charset" in reply.json["error"]) == (status, True)
    workspace.fake.wait_for(lambda fake: len(fake.incidents) == 2, 30)
    summaries = {body["payload"]["summary"] for body in workspace.bodies()}
    assert summaries == {"größer"}


@pytest.mark.parametrize("path", ["/alerts/", "/ingest/alertmanager/"])
def test_trailing_slash_is_not_redirected(start: Start, path: str) -> None:
    assert (
        post(start().url, group(alert("a")) if "ingest" in path else {"key": "a"}, path).status
        == 202
    )


def test_old_senders_are_accepted(start: Start) -> None:
    """HTTP/1.0 needs no Host; HEAD is answered; a path is not redirected."""
    url = start().url
    old = b"POST /alerts HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n"
    with connected(url, old + b'{"key": "a"}') as client:
        assert answer(client).startswith(b"HTTP/1.1 202 ")
    assert ask(url, "HEAD", "/healthz").status == 200
    assert ask(url, "HEAD", "/alerts").status == 405
    assert ask(url, "POST", "//alerts", "{}", JSON).status == 404


def test_local_proxy_names_the_client(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    url = start().url
    for client in ("10.1.2.3", "x" * 5000):
        assert ask(url, "GET", "/nowhere", headers={"X-Forwarded-For": client}).status == 404
    first, second = warnings(caplog)
    assert "from 10.1.2.3: 404" in first
    assert len(second) < 500


def test_bug_of_alerthost_is_an_error_in_the_log(
    start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = start().url
    monkeypatch.setattr("alerthost.http.app.parse_body", lambda *_, **__: 1 / 0)

    reply = post(url, {"key": "a"})
    assert (reply.status, reply.json) == (500, {"error": "internal error; see alerthost's log"})
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert record.exc_info
    assert warnings(caplog)


def test_large_request_delays_only_large_ones(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start()
    inside, released = threading.Event(), threading.Event()
    read = json_alerts.parse_body

    def slow(body: bytes, **options: Any) -> Any:
        if len(body) > LARGE:
            inside.set()
            assert released.wait(60)
        return read(body, **options)

    monkeypatch.setattr("alerthost.http.app.parse_body", slow)
    large = {"key": "large", "summary": "x" * LARGE}
    replies: list[int] = []
    threads = [
        threading.Thread(target=lambda: replies.append(post(running.url, large).status))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    assert inside.wait(60)
    wait_until(lambda: not running._app.threads.large_bodies._value, "every slot is taken")
    reply = post(running.url, large)
    assert (reply.status, reply.headers["retry-after"]) == (429, "10")
    assert ask(running.url, "GET", "/readyz").status == 200
    for _ in range(50):
        assert post(running.url, {"key": "small"}).status == 202
    released.set()
    for thread in threads:
        thread.join()
    assert replies == [202] * 4


def test_size_of_a_response_is_bounded() -> None:
    repairs = [Repair(f"details.{'x' * 1000}", "y" * 1000)] * 400
    alerts = [Alert("k" * 100, "s", severity="error", repairs=repairs) for _ in range(5)]
    faults = [{"location": "alerts[1]", "path": "", "reason": "wrong"}] * 1500

    answer = json.loads(responses.accepted(["id"] * 5, alerts, faults).body)

    assert [len(each["repairs"]) for each in answer["submissions"]] == [400, 400, 200, 0, 0]
    assert answer["repairs_not_shown"] == 1000
    assert (len(answer["faults"]), answer["faults_not_shown"]) == (1000, 500)
    assert len(json.dumps(answer)) < 600_000
