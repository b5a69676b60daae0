"""Forks, ends of processes and kills, in real processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from scripted import Answer, Scripted, later
from shared import unmeasured

import alerthost_client
from alerthost_client import Client


def run(program: str, *arguments: object, env: dict[str, str] | None = None) -> str:
    """Run a program; return its log."""
    imports = "import sys, os, time, threading\nfrom alerthost_client import Client\n"
    ran = subprocess.run(
        [sys.executable, "-c", imports + program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=env,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stderr


def test_the_queue_is_posted_at_the_end_of_the_process(server: Scripted) -> None:
    server.script.append(later(503))
    log = run("client = Client(sys.argv[1])\nfor n in range(9): client.fire(str(n))", server.url)
    assert server.accepted == [str(number) for number in range(9)]
    assert "accepts no alerts, retrying: 503: not now" in log


def test_the_end_of_the_process_is_bounded(server: Scripted) -> None:
    server.script += [later(503, 100)] * 100
    program = "client = Client(sys.argv[1], flush_within=0.2); client.fire('a'); client.fire('b')"
    for end in ("", "; client.close()"):
        log = run(program + end, server.url)
        assert log.count("2 alerts may be lost: not accepted before the end; use a spool") == 1
    assert server.accepted == []


def test_a_process_that_can_start_no_thread_posts_at_its_end(server: Scripted) -> None:
    """As in Python 3.12, where none is started after the main thread."""
    server.script.append(later(503))
    program = """
def refuse(thread): raise RuntimeError("can't create new thread at interpreter shutdown")
threading.Thread.start = refuse
client = Client(sys.argv[1])
client.fire('a')
client.fire('b')
"""
    run(program, server.url)
    assert server.accepted == ["a", "b"]
    server.script += [later(503)] * 1000
    log = run(f"{program}client._worker._flush_within = 0.3", server.url)
    assert "2 alerts may be lost" in log


def test_each_process_of_a_fork_posts_its_own_alerts(server: Scripted) -> None:
    program = """
client = Client(sys.argv[1])
client.fire('before')
child = os.fork()
client.fire('child' if not child else 'parent')
if child:
    assert client.stats.pending + client.stats.accepted == 2
    os.waitpid(child, 0)
else:
    assert client.stats.pending + client.stats.accepted == 1
"""
    run(program, server.url)
    assert sorted(server.accepted) == ["before", "child", "parent"]


def test_posting_imports_nothing(server: Scripted, tmp_path: Path) -> None:
    """A child that is forked during an import has half of the module."""
    program = """
client = Client(sys.argv[1], spool=sys.argv[2])
before = set(sys.modules)
client.fire('a')
assert client.flush(60)
assert not set(sys.modules) - before, set(sys.modules) - before
"""
    server.script += [later(503), Answer(400, "odd")]
    run(program, server.url, tmp_path)


@pytest.mark.parametrize("module", ["multiprocessing", "billiard"])
def test_children_of_multiprocessing_and_celery_post_at_their_end(
    server: Scripted, module: str
) -> None:
    program = f"""
import {module} as processes
client = Client(sys.argv[1])
def work():
    client.fire('child')
    client.fire('child again')
if __name__ == '__main__':
    child = processes.get_context('fork').Process(target=work)
    child.start()
    child.join()
    client.fire('parent')
"""
    run(program, server.url)
    assert server.accepted == ["child", "child again", "parent"]


def test_forks_at_any_instant_lose_and_repeat_nothing(server: Scripted, tmp_path: Path) -> None:
    """Threads hand alerts over while others fork: no child inherits a lock."""
    program = """
client = Client(sys.argv[1], spool=sys.argv[2])
def hand_over(name):
    for number in range(100):
        client.fire(f'{name} {number}')
def fork(name):
    for number in range(20):
        child = os.fork()
        if not child:
            client.fire(f'child {name} {number}')
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        done.append(child)
done = []
threads = [threading.Thread(target=hand_over, args=(name,)) for name in 'abc']
threads += [threading.Thread(target=fork, args=(name,)) for name in 'de']
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(done) == 40
assert client.flush(60)
"""
    # a child that forks while a thread records coverage waits for coverage's lock
    run(program, server.url, tmp_path, env=unmeasured())
    with Client(server.url, spool=tmp_path) as client:  # children may have been last
        assert client.fire("last", wait=60)
    assert len(server.accepted) == len(set(server.accepted)) == 341
    for name in "abc":
        numbers = [int(key.split()[1]) for key in server.accepted if key.startswith(f"{name} ")]
        assert numbers == list(range(100))


def test_alerts_before_an_abrupt_end_are_posted_by_the_next_process(
    server: Scripted, tmp_path: Path
) -> None:
    """As the work-horses of RQ end."""
    run("Client('http://127.0.0.1:1', spool=sys.argv[1]).fire('a'); os._exit(0)", tmp_path)
    run("Client(sys.argv[1], spool=sys.argv[2]).fire('b', wait=60)", server.url, tmp_path)
    assert server.accepted == ["a", "b"]


def test_a_parent_posts_what_its_killed_child_left(server: Scripted, tmp_path: Path) -> None:
    """As under gunicorn with preload, whose master has made the client."""
    program = """
client = Client(sys.argv[1], spool=sys.argv[2])
child = os.fork()
if not child:
    client._worker.wake = lambda: None  # it is killed before its thread starts
    client.fire('a')
    os.kill(os.getpid(), 9)
os.waitpid(child, 0)
sys.stdin.readline()
"""
    imports = "import sys, os\nfrom alerthost_client import Client\n"
    command = [sys.executable, "-c", imports + program, server.url, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        server.wait_for(lambda seen: seen.accepted == ["a"])
        process.communicate(b"\n")
    assert process.returncode == 0


def test_an_event_loop_is_not_blocked_by_a_silent_server(server: Scripted) -> None:
    program = """
import asyncio
client = Client(sys.argv[1])
async def main():
    for number in range(3):
        assert client.fire(str(number))
        await asyncio.sleep(0)
    assert await asyncio.to_thread(client.fire, 'last', wait=60)
asyncio.run(main())
"""
    server.script.append(Answer(0))
    run(program, server.url)
    assert server.accepted == ["0", "1", "2", "last"]


def test_the_standard_library_is_enough(server: Scripted, tmp_path: Path) -> None:
    program = """
sys.path.insert(0, sys.argv[1])
from alerthost_client import Client
assert 'http.client' not in sys.modules, 'importing it is slow'
assert Client(sys.argv[2], spool=sys.argv[3]).fire('a', wait=60)
"""
    source = Path(alerthost_client.__file__).parents[1]
    command = [sys.executable, "-ISc", f"import sys{program}", source, server.url, tmp_path]
    subprocess.run(command, env=unmeasured(), check=True, timeout=120)
    assert server.accepted == ["a"]
