"""The spool: alerts on disk, shared by several processes, read after a kill."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted import Answer, Scripted, later
from waiting import wait_until

from alerthost_client import Client, ClientError, spool


def leave(folder: Path, *keys: str) -> Path:
    """Queue alerts while another process has the lock for posting; return their file."""
    folder.mkdir(exist_ok=True, mode=0o700)
    with post_lock(folder):
        with Client(spool=folder) as client:
            assert all(client.fire(key) for key in keys)
        return files(folder)[-1]


@contextlib.contextmanager
def post_lock(folder: Path) -> Iterator[None]:
    """Hold the lock for posting."""
    with (folder / "post.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def files(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.suffix in {".open", ".batch"})


def rejected(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()]


def test_an_alert_is_on_disk_before_the_call_returns(tmp_path: Path) -> None:
    synced: list[int] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", record)
        file = leave(tmp_path / "spool", "a")
    assert synced[0] == (tmp_path / "spool").stat().st_ino  # the name of the file
    assert file.stat().st_ino in synced
    assert json.loads(file.read_text())["key"] == "a"


def test_alerts_of_an_earlier_process_are_posted_in_order(server: Scripted, tmp_path: Path) -> None:
    leave(tmp_path, "a", "b")
    with Client(server.url, spool=tmp_path) as client:
        assert client.fire("c", wait=60)
        assert client.flush(60)
    assert server.accepted == ["a", "b", "c"]
    assert files(tmp_path) == []


def test_a_client_posts_what_is_left_without_an_alert_of_its_own(
    server: Scripted, tmp_path: Path
) -> None:
    leave(tmp_path, "a")
    with Client(server.url, spool=tmp_path):
        server.wait_for(lambda seen: seen.accepted == ["a"])


def test_a_batch_is_accepted_once_though_its_poster_was_killed(
    server: Scripted, tmp_path: Path
) -> None:
    gate = threading.Event()
    server.script.append(Answer(gate=gate))
    program = (
        "import sys; from alerthost_client import Client\n"
        "client = Client(sys.argv[1], spool=sys.argv[2])\n"
        "client.fire('a'); client.flush(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, server.url, str(tmp_path)]) as process:
        server.wait_for(lambda seen: len(seen.posts) == 1)
        process.send_signal(signal.SIGKILL)
    gate.set()
    with Client(server.url, spool=tmp_path) as client:
        assert client.fire("b", wait=60)
    first, second, *_ = server.posts
    assert (first.key, first.body) == (second.key, second.body)
    assert server.accepted == ["a", "b"]


@pytest.mark.parametrize("garbage", [b'{"key": "cu', b"\0\0\0\0", b'{"key": "\xff', b"[1]"])
def test_a_cut_file_is_read_and_the_cut_is_reported(
    server: Scripted, tmp_path: Path, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file = leave(tmp_path, "a")
    start = file.stat().st_size
    with file.open("ab") as opened:
        opened.write(garbage)
    leave(tmp_path, "b")
    with Client(server.url, spool=tmp_path) as client:
        wait_until(lambda: client.stats == (0, 2, 1, 0))
    assert server.accepted == ["a", "b"]
    (kept,) = rejected(tmp_path)
    assert (kept["at"], kept["reason"]) == (start, spool.CUT)
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert record.getMessage().startswith(f"alert lost: {spool.CUT}: ")


def test_a_file_of_a_cut_alert_alone_is_removed(server: Scripted, tmp_path: Path) -> None:
    file = leave(tmp_path, "a")
    file.write_bytes(file.read_bytes()[:-3])
    with Client(server.url, spool=tmp_path) as client:
        wait_until(lambda: not files(tmp_path))
        wait_until(lambda: client.stats.rejected)
    assert server.posts == []


def test_rejected_alerts_are_kept(server: Scripted, tmp_path: Path) -> None:
    leave(tmp_path, "a", "faulty", "b")
    server.refuses = lambda keys: Answer(400, "odd") if {"faulty", "odd"} & {*keys} else None
    with Client(server.url, spool=tmp_path, raise_errors=True) as client:
        with pytest.raises(ClientError, match=r"^400: odd$"):
            client.fire("odd", wait=60)
        assert client.fire("c", wait=60)
    assert server.accepted == ["a", "b", "c"]
    first, second = rejected(tmp_path)
    assert [json.loads(str(each["alert"]))["key"] for each in (first, second)] == ["faulty", "odd"]
    assert first["reason"] == "400: odd"


def test_a_rejected_alert_is_kept_behind_a_cut_line(server: Scripted, tmp_path: Path) -> None:
    (tmp_path / "rejected.jsonl").write_text('{"batch": "cut off by a ki')
    server.refuses = lambda _keys: Answer(400, "odd")
    with Client(server.url, spool=tmp_path) as client:
        assert not client.fire("a", wait=60)
    _, kept = (tmp_path / "rejected.jsonl").read_text().splitlines()
    assert json.loads(kept)["reason"] == "400: odd"


def test_a_full_batch_is_closed(
    server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "LARGEST", 500)
    leave(tmp_path, *map(str, range(40)))
    assert len(files(tmp_path)) > 5
    with Client(server.url, spool=tmp_path):
        server.wait_for(lambda seen: len(seen.accepted) == 40)
    assert server.accepted == [str(number) for number in range(40)]


def test_the_order_survives_a_clock_that_is_set_back(
    server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "LARGEST", 1)
    clock = iter(range(1_000, 0, -1))
    monkeypatch.setattr(spool.time, "time_ns", lambda: next(clock))
    leave(tmp_path, *map(str, range(20)))
    with Client(server.url, spool=tmp_path):
        server.wait_for(lambda seen: len(seen.accepted) == 20)
    assert server.accepted == [str(number) for number in range(20)]


def test_a_flush_waits_though_the_clock_is_set_back(
    server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    with Client(server.url, spool=tmp_path) as client:
        assert client.fire("a", wait=60)
        monkeypatch.setattr(spool.time, "time_ns", lambda: 1)
        server.script.append(Answer(gate=gate))
        assert client.fire("b")
        assert not client.flush(0)
        gate.set()
        assert client.flush(60)
    assert server.accepted == ["a", "b"]


def test_a_living_client_takes_over_from_a_killed_one(server: Scripted, tmp_path: Path) -> None:
    """It also posts the alerts that the other one queued."""
    gate = threading.Event()
    server.script.append(Answer(gate=gate))
    program = (
        "import sys; from alerthost_client import Client\n"
        "client = Client(sys.argv[1], spool=sys.argv[2])\n"
        "client.fire('a'); client.fire('b'); client.flush(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, server.url, str(tmp_path)]) as process:
        server.wait_for(lambda seen: len(seen.posts) == 1)
        with Client(server.url, spool=tmp_path) as client:
            assert not client.fire("c", wait=0.3)
            process.send_signal(signal.SIGKILL)
            process.wait()
            gate.set()
            assert client.flush(60)
    assert server.accepted == ["a", "b", "c"]


def test_a_process_that_ends_posts_what_others_left_to_it(server: Scripted, tmp_path: Path) -> None:
    """As cron jobs that run at the same minute."""
    first, second = threading.Event(), threading.Event()
    server.script += [Answer(gate=first), Answer(gate=second)]
    program = (
        "import sys; from alerthost_client import Client\n"
        "Client(sys.argv[1], spool=sys.argv[2], flush_within=60).fire('a')"
    )
    with subprocess.Popen([sys.executable, "-c", program, server.url, str(tmp_path)]) as process:
        server.wait_for(lambda seen: len(seen.posts) == 1)
        with Client(server.url, spool=tmp_path) as client:
            client.fire("b")
        first.set()
        server.wait_for(lambda seen: len(seen.posts) == 2)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        second.set()
    assert process.returncode == 0
    assert server.accepted == ["a", "b"]
    assert files(tmp_path) == []


def test_an_alert_behind_a_batch_that_fills_meanwhile_is_posted_after_it(
    server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other threads append between the poster's look for full batches and its lock."""
    monkeypatch.setattr(spool, "LARGEST", 500)
    leave(tmp_path, "a")
    other = spool.Spool(tmp_path)
    lines = [b'{"key":"b","summary":"%s"}\n' % (b"x" * 500), b'{"key":"c"}\n']
    flock = fcntl.flock

    def append_first(descriptor: int, operation: int) -> None:
        if (threading.current_thread().name, operation) == ("alerthost_client", fcntl.LOCK_EX):
            appends, lines[:] = [*lines], []
            for line in appends:
                other.append(line)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", append_first)
    with Client(server.url, spool=tmp_path):
        server.wait_for(lambda seen: len(seen.accepted) == 3)
    assert server.accepted == ["a", "b", "c"]


def test_a_batch_is_on_disk_before_it_is_posted(
    server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a crash of the machine could leave one key with two bodies."""
    file = leave(tmp_path, "a").stat().st_ino
    synced: list[tuple[int, int]] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        fsync(descriptor)
        synced.append((os.fstat(descriptor).st_ino, len(server.posts)))

    monkeypatch.setattr(os, "fsync", record)
    with Client(server.url, spool=tmp_path) as client:
        assert client.fire("b", wait=60)
    assert {(tmp_path.stat().st_ino, 0), (file, 0)} <= {*synced}


def test_two_clients_of_one_process_share_a_spool(server: Scripted, tmp_path: Path) -> None:
    with Client(server.url, spool=tmp_path) as one, Client(server.url, spool=tmp_path) as two:
        for number in range(100):
            assert (two if number % 2 else one).fire(str(number))
        assert one.flush(60)
        assert two.flush(60)
    assert server.accepted == [str(number) for number in range(100)]


def test_the_end_does_not_wait_for_a_silent_alerthost(tmp_path: Path, server: Scripted) -> None:
    gate = threading.Event()
    server.script.append(Answer(gate=gate))
    with Client(server.url, spool=tmp_path, flush_within=3600) as first:
        first.fire("a")
        server.wait_for(lambda seen: len(seen.posts) == 1)
        with Client(server.url, spool=tmp_path, flush_within=3600) as second:
            second.fire("b")  # the first one posts it
        gate.set()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}", spool=tmp_path / "other", flush_within=3600) as third:
        third.fire("c")
    assert server.accepted == ["a", "b"]


def test_a_full_disk_keeps_alerts_in_memory(
    server: Scripted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, line: _fill(write, descriptor, line))
    gate = threading.Event()
    server.script.append(Answer(gate=gate))
    with Client(server.url, spool=tmp_path) as client:
        assert client.fire("a")
        server.wait_for(lambda seen: len(seen.posts) == 1)
        monkeypatch.undo()
        assert client.fire("b")  # behind the first one
        gate.set()
        assert client.flush(60)
        assert client.fire("c", wait=60)
    assert server.accepted == ["a", "b", "c"]
    (error,) = [each.getMessage() for each in caplog.records]
    assert error == "spool: cannot be written (No space left on device); alerts are kept in memory"
    assert files(tmp_path) == [] or not files(tmp_path)[0].stat().st_size


def _fill(write, descriptor: int, line: bytes) -> int:
    """Write some bytes of a line, and no more."""
    if len(line) < 10:
        raise OSError(28, "No space left on device")
    return write(descriptor, line[:-5])


def test_a_removed_folder_costs_no_page(
    server: Scripted, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "spool"
    with Client(server.url, spool=folder) as client:
        assert client.fire("a", wait=60)
        with post_lock(folder):
            pass
        for each in folder.iterdir():
            each.unlink()
        folder.rmdir()
        assert client.fire("b", wait=60)
    assert server.accepted == ["a", "b"]
    # the thread that posts may log that it cannot read the spool, before or after this
    [written] = [each for each in caplog.messages if "cannot be written" in each]
    reason = f"{folder / 'write.lock'}: No such file or directory"
    assert written.startswith(f"spool: cannot be written ({reason})")


def test_a_batch_that_cannot_be_removed_is_posted_again_as_itself(
    server: Scripted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    unlink = Path.unlink
    failing = iter([True, False])

    def fail_once(path: Path) -> None:
        if next(failing, False):
            raise OSError(30, "Read-only file system")
        unlink(path)

    monkeypatch.setattr(Path, "unlink", fail_once)
    with Client(server.url, spool=tmp_path) as client:
        assert client.fire("a", wait=60)
    assert server.accepted == ["a"]
    assert len({post.key for post in server.posts}) == 1 < len(server.posts)
    assert caplog.records[0].getMessage() == (
        "spool: cannot be read or emptied (Read-only file system)"
    )


def test_files_have_the_permissions_of_the_folder(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o2770)
    assert stat.S_IMODE(leave(shared, "a").stat().st_mode) == 0o660
    assert stat.S_IMODE((shared / "write.lock").stat().st_mode) == 0o660
    assert stat.S_IMODE(leave(tmp_path / "own", "a").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "own").stat().st_mode) == 0o700


def test_an_unusable_folder_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ClientError, match=r"^spool: .*/file/x cannot be used: Not a directory$"):
        Client(spool=tmp_path / "file" / "x")
    monkeypatch.delitem(sys.modules, "alerthost_client.spool")
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(ClientError, match=r"^spool: does not work on Windows$"):
        Client(spool=tmp_path)


def test_an_alert_of_a_signal_handler_interrupts_another_one(
    server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler runs while the main thread holds the lock of the spool."""
    with Client(server.url, spool=tmp_path) as client:
        monkeypatch.setattr(os, "write", _interrupted(os.write))
        before = signal.signal(signal.SIGUSR1, lambda *_: client.fire("handler"))
        try:
            assert client.fire("main")
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert client.flush(60)
    assert sorted(server.accepted) == ["handler", "main"]


def _interrupted(write):
    signals = iter([signal.SIGUSR1])

    def interrupted(descriptor: int, line: bytes) -> int:
        for number in signals:
            signal.raise_signal(number)
        return write(descriptor, line)

    return interrupted


@pytest.mark.parametrize("part", [0.01, 0.2, 0.5, 0.8, 0.99])
def test_a_truncated_file_is_read_up_to_the_cut(
    server: Scripted, tmp_path: Path, part: float
) -> None:
    file = leave(tmp_path, "a", "b", "c")
    whole = file.read_bytes()
    kept = whole[: int(len(whole) * part)]
    file.write_bytes(kept)
    *lines, cut = kept.split(b"\n")
    assert cut
    with Client(server.url, spool=tmp_path):
        wait_until(lambda: not files(tmp_path))
    assert server.accepted == [json.loads(line)["key"] for line in lines]
    assert [each["alert"] for each in rejected(tmp_path)] == [cut.decode()]


def test_a_wrong_address_keeps_no_other_process_from_posting(
    server: Scripted, tmp_path: Path
) -> None:
    """Its client has the lock for posting first, and its first batch."""
    folder = tmp_path / "spool"
    with Scripted() as other:
        other.refuses = lambda _keys: later(401, 60)
        with Client(other.url, spool=folder) as wrong:
            wrong.fire("a")
            other.wait_for(lambda seen: seen.posts)
            with Client(server.url, spool=folder) as right:
                right.fire("b")
                server.wait_for(lambda seen: seen.accepted == ["a", "b"])
                assert right.flush(60)
                assert wrong.flush(60)
    assert {post.key for post in other.posts} <= {post.key for post in server.posts}
