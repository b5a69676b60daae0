"""The spool: a folder of alerts on disk, shared by the processes of one machine.

One file ``TIME-ID.open`` is appended to; each line is an alert. To be posted it is renamed to
``TIME-ID.batch``, and removed when its alerts are accepted; while others are refused, the accepted
ones are overwritten with blanks. Its name is the Idempotency-Key, so a batch that was posted by a
process killed before it could remove the file is accepted once. Alerts that are not posted again
are kept in ``rejected.jsonl``.

Two locks, which the kernel releases when a process dies: ``write.lock`` for the moment of an append
or a rename, ``post.lock`` for the one process that posts, so that the order of the appends is kept.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from alerthost_client.batch import LARGEST, Batch, Progress, Record, Rejection

OPEN, BATCH = ".open", ".batch"
REJECTED = "rejected.jsonl"

CUT = "a process was killed, or the disk failed, while this was written"
"""Why a line is no alert."""


class Appended(NamedTuple):
    """An alert in the spool.

    Attributes:
        key: of its batch.
        at: the byte of the file at which it begins.
    """

    key: str
    at: int


class Spool:
    """The spool in a folder, which is made if it does not exist.

    The files get the permissions of the folder, so that a group of users can share it.

    Raises:
        OSError: the folder cannot be made or used.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder.resolve()
        self._mode = self._folder.stat().st_mode & 0o666
        # held while write.lock is: a fork waits for it, so that no child inherits the lock
        self.lock = threading.RLock()
        self._keys: set[str] = set()  # of batches with alerts of this process
        self._is_writing = False
        self._post_lock: int | None = None
        with self._write_lock():
            pass

    def after_fork_in_child(self) -> None:
        """Leave the lock for posting, and the appended alerts, to the parent."""
        self.lock = threading.RLock()
        self._keys = set()
        self._close_post_lock()

    def append(self, line: bytes) -> Appended:
        """Append an alert; it is on disk when this returns.

        Raises:
            OSError: it cannot be written. BlockingIOError: a signal handler appends while the
                append that it interrupts holds the lock.
        """
        with contextlib.ExitStack() as stack:
            with self._write_lock():
                files = self._files(OPEN, BATCH)
                self._keys.intersection_update(each.stem for each in files)
                found = [each for each in files if each.suffix == OPEN]
                path = found[0] if found else self._new_path()
                descriptor = self._open(path, os.O_RDWR | os.O_APPEND)
                stack.callback(os.close, descriptor)
                if not found:
                    self._sync_folder()
                at, size = _write(descriptor, line)
                self._keys.add(path.stem)
                if size >= LARGEST:
                    path.rename(path.with_suffix(BATCH))
            os.fsync(descriptor)  # without the lock: the appends of several processes share one
        return Appended(path.stem, at)

    def is_empty(self) -> bool:
        """Check whether all alerts of all processes are settled."""
        return not self._files(OPEN, BATCH)

    def is_flushed(self) -> bool:
        """Check whether all batches with alerts of this process are settled."""
        with self.lock:
            keys = tuple(self._keys)
        return not any(
            (self._folder / f"{key}{suffix}").exists() for key in keys for suffix in (OPEN, BATCH)
        )

    def may_end(self) -> bool:
        """Check whether this process may end: nothing is left, or another process posts it.

        Otherwise this process has the lock for posting from now on, until it has posted the rest.
        A process that appends while this one has the lock leaves the alert to it, so the folder
        counts as empty only if it is so after the release.

        Raises:
            OSError: the folder cannot be read.
        """
        is_released = self._post_lock is None
        is_empty = self.is_empty()
        return (is_released and is_empty) or not self._acquire()

    def take(self, after: str) -> Batch | None:
        """Return the oldest batch whose key is after another one; None without one.

        None as well if another process posts. A batch keeps its alerts until they are settled. The
        lock for posting is held until `release`, or until there is nothing to post.

        Raises:
            OSError: the folder cannot be read or written.
        """
        if not self._acquire():
            return None
        sealed = self._batches(after)
        if not sealed:
            self._seal()
            sealed = self._batches(after)  # appends may have filled one meanwhile
        if not sealed:
            if not self._files(BATCH):
                self.release()
            return None
        path = sealed[0]
        # if the machine lost the name or the end of the file, one key would have two bodies
        self._sync_folder()
        with path.open("rb") as file:
            os.fsync(file.fileno())
            lines = file.readlines()
        records, cut, at = [], [], 0
        for number, line in enumerate(lines, start=1):
            record = Record(line, number, at)
            if _is_alert(line):
                records.append(record)
            elif line.strip():
                cut.append(Rejection(record, CUT))
            at += len(line)
        return Batch(path.stem, records, cut)

    def settle(self, batch: Batch, progress: Progress) -> None:
        """Remove the accepted and the rejected alerts of a batch; keep the rejected ones.

        Raises:
            OSError: the folder cannot be written; the alerts are taken again.
        """
        rejected = [*batch.cut, *progress.rejected]
        if rejected:
            descriptor = self._open(self._folder / REJECTED, os.O_RDWR | os.O_APPEND)
            try:
                _write(descriptor, b"".join(_kept(batch, each) for each in rejected))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        path = self._folder / f"{batch.key}{BATCH}"
        if not progress.refused:
            path.unlink()
        else:
            with path.open("r+b") as file:
                for record in [*progress.accepted, *(each.record for each in rejected)]:
                    file.seek(record.at)
                    file.write(b" " * len(record.line.rstrip(b"\n")))

    def outcome(self, appended: Appended) -> str | None:
        """Return the `Outcome` of an alert, whichever process posts it."""
        for suffix in (OPEN, BATCH):  # in this order: it is renamed from one to the other
            try:
                file = (self._folder / f"{appended.key}{suffix}").open("rb")
            except FileNotFoundError:
                continue
            with file:
                file.seek(appended.at)
                if file.read(1) != b" ":
                    return None
        try:
            lines = (self._folder / REJECTED).read_bytes().splitlines()
        except FileNotFoundError:
            return ""
        for kept in map(json.loads, filter(_is_alert, lines)):
            if (kept["batch"], kept["at"]) == appended:
                return str(kept["reason"])
        return ""

    def release(self) -> None:
        """Release the lock for posting."""
        with self.lock:  # as in `_acquire`
            if self._post_lock is not None:
                fcntl.flock(self._post_lock, fcntl.LOCK_UN)
            self._close_post_lock()

    def _close_post_lock(self) -> None:
        if self._post_lock is not None:
            os.close(self._post_lock)
            self._post_lock = None

    def _acquire(self) -> bool:
        with self.lock:  # a child knows this descriptor, and closes it
            if self._post_lock is None:
                descriptor = self._open(self._folder / "post.lock", os.O_RDWR)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    os.close(descriptor)
                    return False
                self._post_lock = descriptor
        return True

    @contextlib.contextmanager
    def _write_lock(self) -> Iterator[None]:
        with self.lock:
            if self._is_writing:
                raise BlockingIOError
            self._is_writing = True
            try:
                descriptor = self._open(self._folder / "write.lock", os.O_RDWR)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                    yield
                finally:
                    os.close(descriptor)
            finally:
                self._is_writing = False

    def _seal(self) -> None:
        """Turn the open file into a batch; nothing is appended to it from then on."""
        with self._write_lock():
            for path in self._files(OPEN):
                path.rename(path.with_suffix(BATCH))

    def _batches(self, after: str) -> list[Path]:
        return [each for each in self._files(BATCH) if each.stem > after]

    def _files(self, *suffixes: str) -> list[Path]:
        return sorted(each for each in self._folder.iterdir() if each.name.endswith(suffixes))

    def _new_path(self) -> Path:
        """Return a path after all others, even if the clock was set back."""
        last = max((int(each.name.partition("-")[0]) for each in self._files(BATCH)), default=0)
        number = max(time.time_ns(), last + 1)
        return self._folder / f"{number:020d}-{os.urandom(8).hex()}{OPEN}"

    def _open(self, path: Path, flags: int) -> int:
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            descriptor = os.open(path, flags | os.O_CREAT, 0o600)
            with contextlib.suppress(PermissionError):  # another user made it just now
                os.fchmod(descriptor, self._mode)
            return descriptor

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write(descriptor: int, line: bytes) -> tuple[int, int]:
    """Append a line, after the end of one that a kill cut off; return its start and end."""
    size = start = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        start += 1
        line = b"\n" + line
    try:
        written = 0
        while written < len(line):
            written += os.write(descriptor, line[written:])
    except OSError:
        os.ftruncate(descriptor, size)
        raise
    return start, size + len(line)


def _kept(batch: Batch, rejection: Rejection) -> bytes:
    """Return the line of a rejected alert."""
    record, reason = rejection
    text = record.line.decode("utf-8", "replace").strip()
    kept = {"batch": batch.key, "at": record.at, "reason": reason, "alert": text}
    return json.dumps(kept).encode("ascii") + b"\n"


def _is_alert(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
