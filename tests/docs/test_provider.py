"""The provider of the page: its requests, and the outcomes of responses."""

from __future__ import annotations

import importlib
import socket
from pathlib import Path

import pytest
from chat_rooms import ChatRoom
from pages import Page

from hostspec import Alert
from hostspec.inprocess import Host
from hostspec.plugins import Rule, load

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def host(page: Page) -> Host:
    """Return a host with the provider of the page, whose code has run before."""
    page.run(DOCS / "provider.md")
    plugins = load([], own={"chat": importlib.import_module("chat_plugin")})
    room = plugins.installation("chat", "operations", {"webhook": "env:CHAT_WEBHOOK"})
    post = plugins.rule_action("chat.post", room, {})
    return Host(plugins, [Rule("Tell the room", [post])])


def _outcome(host: Host) -> tuple[str, str]:
    [receipt] = host.handle(Alert("web/errors", "Errors", severity="error")).receipts
    return str(receipt.outcome.kind), receipt.outcome.reason


def test_example_posts_what_the_page_prints(host: Host, chat_room: ChatRoom) -> None:
    assert chat_room.posts == [
        {"text": "@oncall [error] Disk full on db-1"},
        {"text": "Resolved: db-1/disk"},
    ]


def test_slash_in_a_key_separates_problems(host: Host) -> None:
    alerts = [Alert(key, "Full", scope=scope) for scope, key in (("a/b", "c"), ("a", "b/c"))]
    assert [len(host.handle(alert).receipts) for alert in alerts] == [1, 1]
    (held,) = host.held_by(alerts[0].identity)
    assert held.holders == (alerts[0].identity,)


def test_scope_separates_problems(host: Host, chat_room: ChatRoom) -> None:
    for scope in ("shop", "bank"):
        host.handle(Alert("db-1/disk", "Disk full", scope=scope, severity="error"))
    host.handle(Alert("db-1/disk", scope="bank", status="resolved", severity="error"))
    assert [post["text"] for post in chat_room.posts[2:]] == [
        "[error] Disk full",
        "[error] Disk full",
        "Resolved: db-1/disk",
    ]


def test_posted_alert_is_not_posted_again(host: Host, chat_room: ChatRoom) -> None:
    alert = Alert("db-1/disk", "Disk full", severity="error")
    assert [len(host.handle(alert).receipts) for _ in range(2)] == [1, 0]
    assert len(chat_room.posts) == 3


def test_alert_that_was_not_posted_is_not_resolved(host: Host, chat_room: ChatRoom) -> None:
    for status in ("acknowledged", "resolved"):
        assert not host.handle(Alert("db-9/disk", status=status, severity="error")).receipts
    assert len(chat_room.posts) == 2


@pytest.mark.parametrize(
    ("status", "kind"),
    [(429, "throttled"), (404, "misconfigured"), (400, "rejected"), (503, "uncertain")],
)
def test_error_is_an_outcome(status: int, kind: str, host: Host, chat_room: ChatRoom) -> None:
    chat_room.status = status
    assert _outcome(host)[0] == kind


def test_other_responses_are_not_delivered(host: Host, chat_room: ChatRoom) -> None:
    chat_room.answer = b"<title>Please log in</title>"
    assert _outcome(host)[0] == "unreachable"


def test_missing_response_is_uncertain(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/hooks/secret"
    monkeypatch.setenv("CHAT_WEBHOOK", address)
    assert _outcome(host) == ("uncertain", "no response")


def test_wrong_address_stays_secret(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_WEBHOOK", "no address of the secret kind")
    assert _outcome(host) == ("misconfigured", "the webhook is not a valid URL")


def test_missing_address_is_misconfigured(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHAT_WEBHOOK")
    assert _outcome(host)[0] == "misconfigured"
