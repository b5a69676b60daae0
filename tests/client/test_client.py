"""The client without a spool: its requests, retries and log."""

from __future__ import annotations

import http.client
import logging
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
import trustme
from scripted import Answer, Scripted, later
from waiting import wait_until

from alerthost_client import (
    Client,
    ClientError,
    DroppedError,
    limited_log,
    memory,
    sender,
    transport,
)


def logged(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= level]


def test_alerts_are_posted_in_order_as_json_lines(server: Scripted) -> None:
    with Client(server.url, source="web-1") as client:
        assert client.fire("db-1/disk", "Disk full", severity="critical", labels={"team": "data"})
        assert client.resolve("db-1/disk", scope="shop")
        assert client.send({"key": "queue", "status": "acknowledged", "class": "lag"})
        assert client.flush(60)
        assert client.stats == (0, 3, 0, 0)

    fired, resolved, sent = server.alerts
    assert fired.pop("started_at").endswith("+00:00")
    assert fired == {
        "key": "db-1/disk",
        "summary": "Disk full",
        "severity": "critical",
        "source": "web-1",
        "labels": {"team": "data"},
    }
    assert resolved == {"key": "db-1/disk", "status": "resolved", "scope": "shop"}
    assert sent == {"key": "queue", "status": "acknowledged", "class": "lag"}
    assert {post.path for post in server.posts} == {"/alerts?partial=true"}
    assert server.posts[0].headers["content-type"] == "application/x-ndjson"
    assert "authorization" not in server.posts[0].headers


def test_the_source_is_the_name_of_the_machine(server: Scripted) -> None:
    with Client(server.url) as client:
        assert client.fire("a", wait=60)
        assert client.fire("b", source="db-1", started_at="2026-11-23T03:14:00Z", wait=60)
    assert server.posts[0].alerts[0]["source"] == socket.gethostname()
    assert server.posts[1].alerts[0]["source"] == "db-1"
    assert server.posts[1].alerts[0]["started_at"] == "2026-11-23T03:14:00Z"


def test_alerts_queued_during_a_request_become_one_batch(server: Scripted) -> None:
    gate = threading.Event()
    server.script.append(Answer(gate=gate))
    with Client(server.url) as client:
        client.fire("0")
        server.wait_for(lambda seen: len(seen.posts) == 1)
        for number in range(1, 400):
            client.fire(str(number), "x" * 1000)
        gate.set()
        assert client.flush(60)
    assert server.accepted == [str(number) for number in range(400)]
    assert len(server.posts) == 5
    assert max(len(post.body) for post in server.posts) <= 128 * 1024
    assert len({post.key for post in server.posts}) == 5


@pytest.mark.parametrize(
    "answer",
    [
        later(429),
        later(503),
        later(500),
        later(408),
        Answer(0),
        Answer(502, "<html>bad gateway"),
        Answer(raw=b"HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\n\r\n{"),
        Answer(raw=b"SSH-2.0\r\n"),
    ],
)
def test_a_failed_request_is_repeated_with_its_key(
    server: Scripted,
    answer: Answer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "ATTEMPT_WITHIN", 0.2)
    caplog.set_level(logging.INFO)
    server.script += [answer, answer]
    with Client(server.url) as client:
        client.fire("a")
        assert client.fire("b", wait=60)
    assert server.accepted == ["a", "b"]
    first, second, third, *_ = server.posts
    assert (first.key, first.body) == (second.key, second.body) == (third.key, third.body)
    failed, again = logged(caplog, logging.INFO)
    assert failed.startswith(f"alerthost at {server.url} accepts no alerts, retrying: ")
    assert again == "alerthost answers again, after 2 attempts"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(401, '{"error": "send the token"}'), "401: send the token"),
        (Answer(200, "<html>\n Welcome"), "200: <html> Welcome"),
        (Answer(301, "", {"Location": "https://elsewhere.example/"}), "301: "),
        (Answer(404, '["error"]'), '404: ["error"]'),
    ],
)
def test_an_error_of_the_configuration_is_logged_and_retried(
    server: Scripted, answer: Answer, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.script.append(answer)
    with Client(server.url) as client:
        assert client.fire("a", wait=60)
    assert server.accepted == ["a"]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().endswith(f"retrying: {reason}")


def test_retry_after_is_respected(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "FIRST_PAUSE", 3600.0)  # without Retry-After it would never end
    server.script += [later(503, 0), later(429, 0)]
    with Client(server.url) as client:
        assert client.fire("a", wait=60)
    assert len(server.posts) == 3


def test_a_pause_of_retry_after_is_bounded(server: Scripted) -> None:
    server.script += [later(503, 10**8)]
    with Client(server.url, flush_within=0) as client:
        client.fire("a")
        server.wait_for(lambda seen: len(seen.posts) == 1)
        assert not client.flush(0)
        assert client.stats.pending == 1
    assert len(server.posts) == 1


def test_an_unreachable_alerthost_is_retried(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}") as client:
        client.fire("a")
        wait_until(lambda: logged(caplog))
        with Scripted(port=port) as server:
            assert client.flush(60)
    assert server.accepted == ["a"]
    assert logged(caplog)[0].endswith("retrying: Connection refused")


def test_a_host_without_an_address_is_retried(caplog: pytest.LogCaptureFixture) -> None:
    with Client("http://a..b:1", flush_within=0) as client:
        client.fire("a")
        wait_until(lambda: logged(caplog))
    assert "accepts no alerts" in logged(caplog)[0]
    assert logged(caplog)[1] == "1 alert may be lost: not accepted before the end; use a spool"


@pytest.mark.parametrize("status", [400, 413])
def test_a_faulty_alert_costs_no_other_one(
    server: Scripted, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()
    server.script.append(Answer(gate=gate))
    body = '{"error": "nothing was accepted", "faults": [{"path": "status", "reason": "odd"}]}'
    server.refuses = lambda keys: Answer(status, body) if "faulty" in keys else None
    with Client(server.url) as client:
        client.fire("0")
        server.wait_for(lambda seen: len(seen.posts) == 1)
        for key in ("1", "2", "faulty", "3", "4"):
            client.fire(key)
        gate.set()
        assert client.flush(60)
        assert client.stats == (0, 5, 1, 0)
    assert server.accepted == ["0", "1", "2", "3", "4"]
    assert len({(post.key, post.body) for post in server.posts}) == len(server.posts)
    (line,) = logged(caplog)
    assert line.startswith(
        f'alert lost: {status}: nothing was accepted: status: odd: {{"key":"faulty"'
    )


def test_wait_reports_whether_the_alert_is_accepted(
    server: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()
    server.script += [Answer(400, "no"), Answer(gate=gate)]
    with Client(server.url) as client:
        assert not client.fire("a", wait=60)
        assert not client.fire("b", wait=0.01)
        gate.set()
        assert client.flush(60)
        assert client.stats == (0, 1, 1, 0)
    assert server.accepted == ["b"]
    lost, first, more = logged(caplog)
    assert lost.startswith("alert lost: 400: no: ")
    assert first == "alert 'a': 400: no"
    assert more == "1 more lines about ClientError were not logged"


def test_errors_are_raised_if_asked_for(server: Scripted) -> None:
    gate = threading.Event()
    server.script.append(Answer(gate=gate))
    with Client(server.url, most=1, raise_errors=True) as client:
        with pytest.raises(ClientError, match=r"^key: ' ' does not name a problem; use a text$"):
            client.fire(" ")
        with pytest.raises(ClientError, match=r"^status: 'on' is unknown; use firing, acknow"):
            client.send({"key": "a", "status": "on"})
        with pytest.raises(ClientError, match="object has no attribute 'get'") as caught:
            client.send(7)  # type: ignore[arg-type]
        assert isinstance(caught.value.__cause__, AttributeError)
        with pytest.raises(ClientError, match=r"^not accepted within 0 s; it is posted later$"):
            client.fire("a", wait=0)
        with pytest.raises(DroppedError, match=r"^dropped: the queue is full \(1 alerts\)"):
            client.fire("b")
        assert client.stats == (1, 0, 3, 1)
        gate.set()
    with pytest.raises(DroppedError, match=r"^the client is closed$"):
        client.fire("c")
    assert server.accepted == ["a"]


def test_errors_are_logged_once_a_minute_and_counted(
    server: Scripted, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(server.url, flush_within=0) as client:
        assert [client.send(wrong) for wrong in ({"key": 7}, {}, [])] == [False] * 3  # type: ignore[arg-type]
        assert client.stats.rejected == 3
        monkeypatch.setattr(limited_log, "LOG_AGAIN", 0.0)
        assert not client.fire("")
    assert logged(caplog) == [
        "alert 7: key: 7 does not name a problem; use a text",
        "alert []: not handed over",
        "alert '': key: '' does not name a problem; use a text (1 more like this were not logged)",
    ]
    assert caplog.records[1].exc_info


def test_memory_is_bounded_in_bytes(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST_BYTES", 1000)
    gate = threading.Event()
    server.script.append(Answer(gate=gate))
    with Client(server.url) as client:
        assert client.fire("a", "x" * 500)
        assert not client.fire("b", "x" * 500)
        gate.set()
        assert client.flush(60)
        assert client.fire("c", "x" * 500, wait=60)
        assert client.stats == (0, 2, 0, 1)
    assert server.accepted == ["a", "c"]


class Unprintable:
    def __str__(self) -> str:
        raise OSError

    __repr__ = __str__


def test_fields_that_json_cannot_hold_cost_no_page(
    server: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    circular: list[object] = []
    circular.append(circular)
    with Client(server.url) as client:
        assert client.fire("a", details={"at": Path("/x"), "lone": "\ud800"}, wait=60)
        assert client.fire("b", details={(1, 2): 3}, labels={"team": "data"}, wait=60)
        assert client.fire("c", details=circular, summary="x" * 999, wait=60)
        assert client.fire("d", details=Unprintable(), wait=60)
    first, second, third, fourth = (post.alerts[0] for post in server.posts)
    assert first["details"] == {"at": "/x", "lone": "\ud800"}
    assert (second["details"], second["labels"]) == ("{(1, 2): 3}", {"team": "data"})
    assert (third["details"], third["summary"]) == ("[[...]]", "x" * 999)
    assert fourth["details"] == "<Unprintable whose repr raises OSError>"
    assert [each.partition(" (")[0] for each in logged(caplog)] == [
        "details: cannot be written as JSON"
    ] * 3


def test_a_value_in_the_log_is_shortened(caplog: pytest.LogCaptureFixture) -> None:
    with Client(flush_within=0) as client:
        client.send({"key": ["x" * 1000]})
    assert len(logged(caplog)[0]) < 500


def test_the_token_is_sent(server: Scripted, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    with Client(server.url, token_file=file) as client, Client(server.url, token="own") as other:
        assert client.fire("a", wait=60)
        file.write_text("second\n")
        assert client.fire("b", wait=60)
        assert other.fire("c", wait=60)
    sent = [post.headers["authorization"] for post in server.posts]
    assert sent == ["Bearer first", "Bearer second", "Bearer own"]


def test_an_unusable_token_is_reported_and_read_again(
    server: Scripted, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "token"
    with Client(server.url, token_file=file) as client:
        client.fire("a")
        wait_until(lambda: logged(caplog))
        assert logged(caplog)[0].endswith(
            f"token: cannot be read: {file}: No such file or directory"
        )
        file.write_text("word")
        assert client.flush(60)
    assert server.posts[0].headers["authorization"] == "Bearer word"


def test_a_token_that_is_no_text_is_read_again(
    server: Scripted, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"sesame\xff")
    with Client(server.url, token_file=file) as client:
        client.fire("a")
        wait_until(lambda: logged(caplog))
        assert logged(caplog)[0].endswith("token: is not a word of ASCII characters")
        file.write_text("word")
        assert client.flush(60)
    assert server.posts[0].headers["authorization"] == "Bearer word"


def test_an_attempt_that_fails_unexpectedly_is_retried(
    server: Scripted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    request = http.client.HTTPConnection.request
    errors = iter([LookupError("unknown encoding: idna")])

    def fail_once(*arguments: Any, **options: Any) -> None:
        for error in errors:
            raise error
        request(*arguments, **options)

    monkeypatch.setattr(http.client.HTTPConnection, "request", fail_once)
    with Client(server.url) as client:
        assert client.fire("a", wait=60)
    assert server.accepted == ["a"]
    assert logged(caplog)[0].endswith("retrying: unknown encoding: idna")


def test_a_token_with_blanks_is_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    with Client(token="open sesame\n", flush_within=0) as client:
        client.fire("a")
        wait_until(lambda: logged(caplog))
    assert logged(caplog)[0].endswith("token: is not a word of ASCII characters")
    assert "sesame" not in caplog.text


@pytest.mark.parametrize(
    "url", ["alerthost:9095", "ftp://a", "http://", "http://a:b", "http://user:password@a"]
)
def test_an_invalid_url_is_a_fault(url: str) -> None:
    with pytest.raises(ClientError, match="is not a URL of alerthost; use for example http://127"):
        Client(url)


def test_two_tokens_are_a_fault() -> None:
    with pytest.raises(ClientError, match=r"^token, token_file: only one of them can be used$"):
        Client(token="a", token_file="b")


def test_settings_are_read_from_the_environment(server: Scripted) -> None:
    environ = {"ALERTHOST_URL": f"{server.url}/below/", "ALERTHOST_TOKEN": "word"}
    with Client.from_env({**environ, "ALERTHOST_SPOOL": " "}, source="web-1") as client:
        assert client.fire("a", wait=60)
    named = {**environ, "ALERTHOST_TOKEN": "", "ALERTHOST_TOKEN_FILE": "missing"}
    with Client.from_env(named, url=server.url, token="other") as client:
        assert client.fire("b", wait=60)
    assert [post.path for post in server.posts] == [
        "/below/alerts?partial=true",
        "/alerts?partial=true",
    ]
    assert [post.headers["authorization"] for post in server.posts] == [
        "Bearer word",
        "Bearer other",
    ]


def test_tls_is_verified(
    server: Scripted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = server.url.replace("http:", "https:")
    with Client(url, flush_within=0) as client:
        client.fire("a")
        wait_until(lambda: logged(caplog))
    assert "CERTIFICATE_VERIFY_FAILED" in logged(caplog)[0].upper().replace(" ", "_")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with Client(url) as client:
        assert client.fire("b", wait=60)
    assert server.accepted == ["b"]
