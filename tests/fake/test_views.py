"""The page of incidents."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

    from pagerduty_plugin.testing import FakePagerDuty

    Make = Callable[..., dict[str, Any]]


@attrs.define
class Page(HTMLParser):
    """The content of a page: texts of table cells by row, links and tags."""

    rows: list[list[str]] = attrs.field(factory=list)
    links: list[str] = attrs.field(factory=list)
    tags: set[str] = attrs.field(factory=set)
    text: str = ""

    def __attrs_pre_init__(self) -> None:
        """Start the parser."""
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record rows, cells and links."""
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")
        elif tag == "a":
            self.links.append(dict(attrs)["href"] or "")

    def handle_data(self, data: str) -> None:
        """Collect the text of the cell, and of all."""
        self.text += data
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def read(sender: Any) -> Page:
    """Get the page."""
    response = sender.request("GET", "/")
    assert (
        response.status,
        response.headers["Content-Type"],
    ) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    page = Page()
    page.feed(response.body.decode())
    page.close()
    return page


def test_an_account_without_incidents_says_so(sender: Any) -> None:
    """No empty table is shown."""
    page = read(sender)

    assert "No incidents yet" in page.text
    assert page.rows == []
    assert "script" not in page.tags


def test_open_incidents_are_listed_first(
    sender: Any, fake: FakePagerDuty, trigger: Make, follow_up: Make
) -> None:
    """Each row has number, state, severity, summary, service and events."""
    key = fake.add_service("checkout")
    for dedup_key, severity in (("a", "critical"), ("b", "info"), ("c", "error"), ("d", "warning")):
        sender.send(trigger(dedup_key, routing_key=key, payload={"severity": severity}))
    sender.send(follow_up("resolve", "a", key))
    sender.send(follow_up("acknowledge", "b", key))
    sender.send(trigger("c", routing_key=key))

    page = read(sender)
    head, *rows = page.rows
    assert head[:6] == ["#", "State", "Severity", "Summary", "Service", "Events"]
    assert [row[:6] for row in rows] == [
        ["4", "triggered", "warning", "Disk fulldb-1 · d", "checkout", "1"],
        ["3", "triggered", "critical", "Disk fulldb-1 · c", "checkout", "2"],
        ["2", "acknowledged", "info", "Disk fulldb-1 · b", "checkout", "2"],
        ["1", "resolved", "critical", "Disk fulldb-1 · a", "checkout", "2"],
    ]
    assert f"{fake.incidents[0].opened_at:%Y-%m-%d %H:%M:%S}" in rows[3][6]
    assert "2 triggered1 acknowledged1 resolved" in page.text
    assert "region us" in page.text


def test_the_context_of_the_first_trigger_is_shown(sender: Any, trigger: Make) -> None:
    """Links, images and client; only web addresses become links."""
    sender.send(
        trigger(
            client="alerthost",
            client_url="https://host.example/alerts/1?a=1&b=2",
            links=[
                {"href": "https://wiki.example/disk", "text": "Runbook"},
                {"href": "https://bare.example"},
                {"href": "javascript:alert(1)", "text": "Trap"},
            ],
            images=[
                {"src": "https://graphs.example/1.png", "href": "https://graphs.example/1"},
                {"src": "https://graphs.example/2.png", "alt": "Graph"},
            ],
        )
    )
    sender.send(trigger("other", client_url="https://only.example"))
    sender.send(trigger("third", client="nameless"))

    page = read(sender)
    assert page.links == [
        "https://only.example",
        "https://wiki.example/disk",
        "https://bare.example",
        "https://graphs.example/1",
        "https://graphs.example/2.png",
        "https://host.example/alerts/1?a=1&b=2",
    ]
    assert (
        "Runbook · https://bare.example · Trap · image · Graph · from alerthost" in page.rows[3][3]
    )
    assert "from https://only.example" in page.rows[2][3]
    assert "from nameless" in page.rows[1][3]
    assert "img" not in page.tags


def test_change_events_are_listed(sender: Any, key: str) -> None:
    """The newest one comes first."""
    for summary in ("Deployed 1", "Deployed 2"):
        sender.change({"routing_key": key, "payload": {"summary": summary}})

    assert [row[:2] for row in read(sender).rows[1:]] == [
        ["Deployed 2", "service 1"],
        ["Deployed 1", "service 1"],
    ]


def test_event_content_is_escaped(sender: Any, fake: FakePagerDuty, trigger: Make) -> None:
    """Everything is escaped, in texts and in addresses."""
    evil = "<script>alert('x')</script>\"&amp;"
    key = fake.add_service(evil)
    sender.send(
        trigger(
            evil,
            routing_key=key,
            payload={"summary": evil, "source": evil},
            client=evil,
            client_url=f"https://host.example/{evil}",
            links=[{"href": f"https://host.example/{evil}", "text": evil}],
        )
    )
    sender.change({"routing_key": key, "payload": {"summary": evil}})

    page = read(sender)
    assert "script" not in page.tags
    assert page.links == [f"https://host.example/{evil}"] * 2
    assert [page.rows[1][4], page.rows[3][0]] == [evil, evil]


def test_no_integration_key_is_shown(sender: Any, trigger: Make, key: str) -> None:
    """Holds if a sender put one into a text."""
    sender.send(trigger(f"disk-{key}", payload={"summary": f"Key {key} fails"}))

    page = read(sender)
    assert key not in sender.request("GET", "/").body.decode()
    assert "Key …6789 fails" in page.text


def test_control_characters_are_shown_and_never_sent(
    sender: Any, fake: FakePagerDuty, trigger: Make
) -> None:
    """A terminal or a browser might act on them."""
    payload = {"summary": "a\x00b\x1b[31m\x7f\x9b\nc", "source": "s\x07"}
    sender.send(
        trigger("k\x08", payload=payload, links=[{"href": "https://x/\x1b", "text": "\x1f"}])
    )
    change = {"summary": "d\x1be"}
    sender.change({"routing_key": trigger()["routing_key"], "payload": change})
    assert (len(fake.incidents), len(fake.changes)) == (1, 1)
    text = sender.request("GET", "/").body.decode()
    assert [each for each in text if ord(each) < 32 or 127 <= ord(each) < 160] == [
        "\n"
    ] * text.count("\n")
    for shown in ("a␀b␛[31m␡�\nc", "s␇", "k␈", 'href="https://x/␛"', ">␟<", "d␛e"):
        assert shown in text
