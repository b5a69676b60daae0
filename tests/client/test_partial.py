"""Alerts that alerthost does not accept yet: the others need not wait for them."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from scripted import Answer, Scripted
from waiting import wait_until

from alerthost_client import Client, poster, sender, spool

FULL = json.dumps({"retry": {"lines": [1], "reason": "full"}})
FAILED = Answer(500, '{"error": "internal error"}', {"Retry-After": "0"})


@pytest.fixture(params=["in memory", "in a spool"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return None if request.param == "in memory" else tmp_path


def batches(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.batch"))


def test_a_refused_alert_holds_up_no_other(
    server: Scripted, folder: Path | None, caplog: pytest.LogCaptureFixture
) -> None:
    server.full_for = frozenset({"noise"})
    with Client(server.url, spool=folder) as client:
        client.fire("noise")
        assert client.fire("page", wait=60)
        assert not client.flush(0)
        server.full_for = frozenset()
        assert client.flush(60)
        assert client.stats.accepted == 2
    assert server.accepted == ["page", "noise"]
    assert f"alerthost at {server.url} does not accept some alerts yet, retrying: full" in (
        caplog.messages
    )


def test_alerts_of_one_key_keep_their_order(server: Scripted, folder: Path | None) -> None:
    server.full_for = frozenset({"noise"})
    with Client(server.url, spool=folder) as client:
        client.fire("noise", "1")
        server.wait_for(lambda seen: len(seen.posts) > 1)
        assert client.fire("page", wait=60)  # "noise" is held
        client.fire("noise", "2")
        assert client.fire("other", wait=60)
        assert not any(each["summary"] == "2" for post in server.posts for each in post.alerts)
        server.full_for = frozenset()
        assert client.flush(60)
    assert server.accepted == ["page", "other", "noise", "noise"]


@pytest.mark.parametrize(
    ("held", "newer", "expected"),
    [
        ({"severity": "warning"}, {"severity": "critical"}, ["critical"]),
        ({"severity": "warning"}, {"status": "resolved"}, ["resolved"]),
        ({"severity": "warning"}, {"status": "acknowledged"}, ["warning", "acknowledged"]),
        ({"severity": "warning"}, {"severity": "error"}, ["warning", "error"]),
        ({"status": "resolved"}, {"severity": "critical"}, ["resolved", "critical"]),
        ({"status": "resolved"}, {"status": "resolved"}, ["resolved"]),
    ],
)
def test_a_held_state_gives_way_to_what_supersedes_it(
    server: Scripted,
    folder: Path | None,
    held: dict[str, str],
    newer: dict[str, str],
    expected: list[str],
) -> None:
    server.full_for = frozenset({"a", "b"})
    with Client(server.url, spool=folder) as client:
        client.send({"key": "b", "severity": "warning"})
        server.wait_for(lambda seen: bool(seen.posts))
        client.send({"key": "a", **held})
        server.wait_for(lambda seen: any("a" in post.keys for post in seen.posts))
        assert client.fire("other", wait=60)  # so "a" is held
        server.full_for = frozenset("b") if len(expected) == 1 else frozenset("ab")
        client.send({"key": "a", **newer}, wait=60 if len(expected) == 1 else None)
        server.full_for = frozenset()
        assert client.flush(60)
        assert client.stats == (0, 4, 0, 0)
    arrived = [
        alert["severity"] if alert.get("status", "firing") == "firing" else alert["status"]
        for post in server.posts[-3:]
        for alert in post.alerts
        if alert["key"] == "a"
    ]
    assert arrived == expected


def test_a_refused_scope_is_not_another_one(server: Scripted) -> None:
    server.script.append(Answer(202, FULL, {"Retry-After": "3600"}))
    with Client(server.url, flush_within=0) as client:
        client.fire("a", scope="one")
        server.wait_for(lambda seen: len(seen.posts) == 1)
        assert client.fire("a", scope="two", wait=60)


def test_faulty_lines_are_lost_alone(server: Scripted, caplog: pytest.LogCaptureFixture) -> None:
    gate = threading.Event()
    answer = Answer(202, json.dumps({"faulty": [{"line": 2, "reason": "odd"}]}))
    server.script += [Answer(gate=gate), answer]
    with Client(server.url) as client:
        client.fire("0")
        server.wait_for(lambda seen: len(seen.posts) == 1)
        for key in "abc":
            client.fire(key)
        gate.set()
        assert client.flush(60)
        assert client.stats == (0, 3, 1, 0)
    assert len(server.posts) == 2
    assert [each for each in caplog.messages if each.startswith('alert lost: odd: {"key":"b"')]


def test_an_alert_at_which_alerthost_fails_holds_up_no_other(
    server: Scripted, folder: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "LONGEST_PAUSE", 0.0)
    gate = threading.Event()
    server.script.append(Answer(gate=gate))
    server.refuses = lambda keys: FAILED if "poison" in keys else None
    with Client(server.url, spool=folder) as client:
        client.fire("0")
        server.wait_for(lambda seen: len(seen.posts) == 1)
        for key in ("1", "2", "poison", "poison"):
            client.fire(key)
        gate.set()
        assert client.fire("4", wait=60)
        assert server.accepted == ["0", "1", "2", "4"]
        server.refuses = lambda _keys: None
        assert client.flush(60)
    assert server.accepted == ["0", "1", "2", "4", "poison", "poison"]


def test_a_cut_response_counts_as_none(server: Scripted) -> None:
    server.script += [Answer(202, '"retry": {"lines"'), Answer(202, "[]"), Answer(202, "1")]
    with Client(server.url) as client:
        assert client.fire("a", wait=60)
    assert len(server.posts) == 4


def test_held_batches_are_posted_again(
    server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "LARGEST", 1)  # each alert is a batch
    server.full_for = frozenset("abc")
    with Client(server.url, spool=tmp_path) as client:
        for key in "abc":
            client.fire(key)
        assert client.fire("d", wait=60)
        assert len(batches(tmp_path)) == 3
        server.full_for = frozenset()
        assert client.flush(60)
        wait_until(lambda: not batches(tmp_path))
    assert server.accepted[0] == "d"
    assert sorted(server.accepted[1:]) == ["a", "b", "c"]


def test_each_held_batch_has_its_turn(
    server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "LARGEST", 1)  # each alert is a batch
    server.full_for = frozenset({"flood", "other"})
    with Client(server.url, spool=tmp_path, flush_within=0) as client:
        client.fire("flood")
        client.fire("other")
        server.wait_for(lambda seen: any("other" in post.keys for post in seen.posts))
        server.full_for = frozenset({"flood"})
        server.wait_for(lambda seen: seen.accepted == ["other"])


def test_alerts_behind_others_keep_their_lines(server: Scripted, folder: Path | None) -> None:
    server.full_for = frozenset({"noise", "other"})
    with Client(server.url, spool=folder) as client:
        client.fire("noise", "1")
        server.wait_for(lambda seen: bool(seen.posts))
        assert client.fire("page", wait=60)  # so "noise" is held
        gate = threading.Event()
        server.refuses = lambda keys: Answer(gate=gate) if keys == ["gate"] else None
        client.fire("gate")
        server.wait_for(lambda seen: seen.posts[-1].keys == ["gate"])
        client.fire("noise", "2")
        client.fire("other")  # in one batch: it is refused, and the one before it waits
        gate.set()
        server.wait_for(lambda seen: any("other" in post.keys for post in seen.posts))
        server.full_for = frozenset()
        assert client.flush(60)
    arrived = [each for post in server.posts for each in post.alerts if each["key"] == "noise"]
    assert [each["summary"] for each in arrived][-2:] == ["1", "2"]


def test_accepted_alerts_of_a_held_batch_are_not_posted_again(
    server: Scripted, tmp_path: Path
) -> None:
    server.full_for = frozenset({"noise"})
    gate = threading.Event()
    server.script.append(Answer(gate=gate))
    with Client(server.url, spool=tmp_path, flush_within=0) as client:
        client.fire("0")
        server.wait_for(lambda seen: len(seen.posts) == 1)
        client.fire("noise")
        client.fire("page")
        gate.set()
        server.wait_for(lambda seen: "page" in seen.accepted)
        wait_until(lambda: client.stats.accepted == 2)
    (held,) = batches(tmp_path)
    noise, page = held.read_text().splitlines()
    assert json.loads(noise)["key"] == "noise"
    assert page.strip() == ""
    before = len(server.posts)
    server.full_for = frozenset()
    with Client(server.url, spool=tmp_path):
        wait_until(lambda: not batches(tmp_path))
    assert [post.keys for post in server.posts[before:]] == [["noise"]]
    assert server.posts[-1].key == held.stem


def test_the_end_of_a_process_does_not_wait_for_refused_alerts_in_a_spool(
    server: Scripted, tmp_path: Path
) -> None:
    server.full_for = frozenset({"noise"})
    with Client(server.url, spool=tmp_path, flush_within=3600) as client:
        client.fire("noise")
        server.wait_for(lambda seen: bool(seen.posts))
    assert len(batches(tmp_path)) == 1


def test_the_identities_in_memory_are_bounded(
    server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poster, "MOST_HELD", 1)
    server.full_for = frozenset({"a"})
    with Client(server.url, flush_within=0) as client:
        client.fire("a")
        server.wait_for(lambda seen: len(seen.posts) > 1)
        client.fire("b")
        server.wait_for(lambda seen: len(seen.posts) > 5)
        assert server.accepted == []
        server.full_for = frozenset()
        assert client.flush(60)
    assert server.accepted == ["a", "b"]


def test_a_held_batch_that_is_removed_by_hand_is_forgotten(
    server: Scripted, tmp_path: Path
) -> None:
    gate = threading.Event()
    server.script += [Answer(202, FULL, {"Retry-After": "0"}), Answer(202, FULL, gate=gate)]
    with Client(server.url, spool=tmp_path) as client:
        client.fire("a")
        server.wait_for(lambda seen: len(seen.posts) == 2)
        batches(tmp_path)[0].unlink()
        gate.set()
        assert client.flush(60)
        assert client.fire("a", wait=60)
    assert server.accepted == ["a"]


def test_what_supersedes_a_batch_that_was_removed_by_hand_is_posted(
    server: Scripted, tmp_path: Path
) -> None:
    server.script.append(Answer(202, FULL, {"Retry-After": "3600"}))
    with Client(server.url, spool=tmp_path) as client:
        client.fire("a")
        assert client.fire("b", wait=60)  # so "a" is held
        batches(tmp_path)[0].unlink()
        assert client.resolve("a", wait=60)
        assert client.flush(60)
    assert server.accepted == ["b", "a"]
