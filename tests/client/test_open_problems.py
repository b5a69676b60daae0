"""The memory of open problems: which successes resolve, in one process and in several."""

from __future__ import annotations

import concurrent.futures
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from scripted import Scripted

from alerthost_client import Client
from alerthost_client.integrations import open_problems
from alerthost_client.integrations.open_problems import OpenProblems

Wait = Callable[[float], None]


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Wait:
    """Return a function that lets time pass; its seconds may be negative, as a clock may step."""
    now = [0.0]
    clock = SimpleNamespace(time=time.time, monotonic=lambda: now[0])
    monkeypatch.setattr(open_problems, "time", clock)

    def wait(seconds: float) -> None:
        now[0] += max(seconds, 0)
        for path in tmp_path.glob("spool/problems/*"):
            modified = path.stat().st_mtime - seconds
            os.utime(path, (modified, modified))

    return wait


@pytest.fixture(params=["with a spool", "in memory"])
def client(request: pytest.FixtureRequest, server: Scripted, tmp_path: Path) -> Iterator[Client]:
    spool = tmp_path / "spool" if request.param == "with a spool" else None
    with Client(server.url, spool=spool) as client:
        yield client


def resolved(client: Client, server: Scripted) -> list[str]:
    assert client.flush(60)
    alerts = server.alerts
    return [alert["key"] for alert in alerts if alert.get("status") == "resolved"]


def test_successes_resolve_what_fires_or_is_unknown(
    client: Client, server: Scripted, wait: Wait
) -> None:
    problems = OpenProblems(client)
    problems.fire("a", "broken")
    for key in "aaab":
        problems.resolve(key)
        problems.resolve(key)
    assert resolved(client, server) == ["a", "b"]
    wait(open_problems.RESOLVE_EVERY + 1)
    for key in "aabb":
        problems.resolve(key)
    assert resolved(client, server) == ["a", "b", "a", "b"]
    problems.fire("a", "broken")
    problems.resolve("a")
    assert resolved(client, server) == ["a", "b", "a", "b", "a"]


def test_successes_of_many_keys_resolve_what_fires(
    client: Client, server: Scripted, wait: Wait
) -> None:
    problems = OpenProblems(client, guesses=False)
    problems.resolve("a")
    problems.fire("b", "broken")
    problems.resolve("b", scope="eu")
    wait(open_problems.RESOLVE_EVERY + 1)
    problems.resolve("b")
    assert resolved(client, server) == ["b"]
    assert server.posts[-1].alerts[-1]["scope"] == "eu"


def test_a_spool_is_the_memory_of_all_processes(server: Scripted, tmp_path: Path) -> None:
    with Client(server.url, spool=tmp_path / "spool") as client:
        OpenProblems(client).fire("a", "broken")
        other = OpenProblems(client)
        for _ in range(3):
            other.resolve("a")
            OpenProblems(client).resolve("a")
        assert resolved(client, server) == ["a"]


@pytest.mark.parametrize("guesses", [True, False])
def test_successes_at_once_resolve_a_problem_once(
    client: Client, server: Scripted, *, guesses: bool
) -> None:
    problems = OpenProblems(client, guesses=guesses)
    problems.resolve("a")
    problems.fire("a", "broken")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for _ in range(200):
            problems.fire("a", "broken")
            list(pool.map(problems.resolve, "a" * 8))
    assert resolved(client, server) == ["a"] * (200 + guesses)


def test_a_success_in_the_middle_of_another_resolves_alone(
    server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink
    with Client(server.url, spool=tmp_path / "spool") as client:
        problems, other = OpenProblems(client), OpenProblems(client)
        problems.fire("a", "broken")

        def unlink_late(path: Path) -> None:
            monkeypatch.undo()
            other.resolve("a")
            unlink(path)

        monkeypatch.setattr(Path, "unlink", unlink_late)
        problems.resolve("a")
        assert resolved(client, server) == ["a"]


@pytest.mark.parametrize("guesses", [True, False])
def test_the_resolve_of_a_killed_process_is_repeated(
    server: Scripted,
    tmp_path: Path,
    wait: Wait,
    monkeypatch: pytest.MonkeyPatch,
    *,
    guesses: bool,
) -> None:
    with Client(server.url, spool=tmp_path / "spool") as client:
        problems = OpenProblems(client, guesses=guesses)
        problems.fire("a", "broken")
        with monkeypatch.context() as killed:
            killed.setattr(client, "resolve", lambda _key: sys.exit())
            with pytest.raises(SystemExit):
                problems.resolve("a")
        OpenProblems(client, guesses=guesses).resolve("a")
        assert resolved(client, server) == []
        wait(open_problems.REPEAT_AFTER)
        for _ in range(3):
            OpenProblems(client, guesses=guesses).resolve("a")
        assert resolved(client, server) == ["a"]


def test_the_memory_has_the_permissions_of_the_spool(server: Scripted, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    spool.chmod(0o2770)
    with Client(server.url, spool=spool) as client:
        OpenProblems(client).fire("a", "broken")
        assert (spool / "problems").stat().st_mode & 0o7777 == 0o2770
        (file,) = (spool / "problems").iterdir()
        file.chmod(0o400)  # as the file of another user
        OpenProblems(client).resolve("a")
        assert resolved(client, server) == ["a"]


def test_a_clock_that_is_set_back_stops_no_resolve(
    server: Scripted, tmp_path: Path, wait: Wait
) -> None:
    with Client(server.url, spool=tmp_path / "spool") as client:
        problems = OpenProblems(client)
        problems.resolve("a")
        wait(-2 * open_problems.RESOLVE_EVERY)
        problems.resolve("a")
        assert resolved(client, server) == ["a", "a"]


def test_old_problems_are_forgotten(server: Scripted, tmp_path: Path, wait: Wait) -> None:
    with Client(server.url, spool=tmp_path / "spool") as client:
        problems = OpenProblems(client)
        problems.fire("old", "broken")
        wait(open_problems.FORGET_AFTER + 1)
        problems.fire("new", "broken")
        OpenProblems(client)
        (left,) = (tmp_path / "spool" / "problems").iterdir()
        assert left.read_text() == "new"


def test_the_memory_of_a_process_is_bounded(
    server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_problems, "MOST_PROBLEMS", 2)
    with Client(server.url) as client:
        problems = OpenProblems(client, guesses=False)
        for key in "abc":
            problems.fire(key, "broken")
        for key in "abc":
            problems.resolve(key)
        assert resolved(client, server) == ["b", "c"]
