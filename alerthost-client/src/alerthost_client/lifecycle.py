"""The hooks of forks and of the end of the process; they call every worker."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alerthost_client.worker import Worker

_workers: weakref.WeakSet[Worker] = weakref.WeakSet()
_fork = threading.RLock()  # held during a fork: threads fork one after the other
_forking: list[Worker] = []
_flushed_by_multiprocessing: set[int] = set()


def add(worker: Worker) -> None:
    """Call a worker before and after forks, and at the end of the process."""
    _workers.add(worker)


def flush_with_multiprocessing() -> None:
    """Flush at the end of a child of multiprocessing or Celery, which runs no `atexit`."""
    if os.getpid() in _flushed_by_multiprocessing:
        return
    _flushed_by_multiprocessing.add(os.getpid())
    for name in ("multiprocessing.util", "billiard.util"):
        if name in sys.modules:
            sys.modules[name].Finalize(None, _at_exit, exitpriority=0)


@atexit.register
def _at_exit() -> None:
    for worker in list(_workers):
        worker.at_exit()


def _before_fork() -> None:
    _fork.acquire()
    _forking.extend(_workers)
    for worker in _forking:
        worker.before_fork()


def _after_fork_in_parent() -> None:
    while _forking:
        _forking.pop().after_fork_in_parent()
    _fork.release()


def _after_fork_in_child() -> None:
    while _forking:
        _forking.pop().after_fork_in_child()
    _fork.release()


with contextlib.suppress(AttributeError):  # Windows has no fork
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
