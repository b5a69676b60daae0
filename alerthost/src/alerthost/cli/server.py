"""What ``alerthost run`` runs: an engine and an HTTP listener, replaced together on a reload."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs

from alerthost.cli.options import messages_of
from alerthost.cli.session import cut_off_notes
from alerthost.config import configuration
from alerthost.config.configuration import Configuration
from alerthost.config.document import ConfigFile, ConfigurationError
from alerthost.config.plugins import LaneNames
from alerthost.config.store import build_engine
from alerthost.config.tables import HttpTable, SpoolTable
from alerthost.console.app import Console
from alerthost.http.app import Backend, HttpApp
from alerthost.http.backpressure import Backpressure
from alerthost.http.delivery_log import DeliveryLog, LaneLog
from alerthost.http.heartbeats import heartbeat_routes
from alerthost.http.listener import Listener
from alerthost.http.metrics import Metrics
from alerthost.http.spool_reader import SpoolReader
from alerthost.outbox.admin import Admin
from alerthost.outbox.admin_rows import Backlog, Blocked
from alerthost.outbox.expected_heartbeat import HeartbeatRow
from alerthost.outbox.leasing import Lease
from alerthost.store.errors import StoreError
from alerthost.store.revision import Revision, read_revision
from hostspec.delivery import Outcome
from hostspec.errors import Fault

_log = logging.getLogger("hostspec")

STOP_WITHIN: Final = 8.0
"""Seconds to finish deliveries in flight; the next start reclaims the rest."""

LOOK_EVERY: Final = 0.5
"""Seconds between two looks at the store for changes of its accounts and rules."""

RETRY_EVERY: Final = 30.0
"""Seconds after which changes that were refused are tried again."""


@attrs.frozen(eq=False)
class _Loaded:
    """A configuration with its engine, not started yet."""

    source: ConfigFile
    configuration: Configuration
    backend: Backend


class Server:
    """An engine at work, and an HTTP listener that accepts alerts for it.

    Args:
        path: of the configuration.
        listens: accept alerts over HTTP; if not, only deliver what other processes accept.
        works: deliver; if not, other processes deliver the alerts accepted here.
    """

    def __init__(self, path: Path, *, listens: bool = True, works: bool = True) -> None:
        self._path = path
        self._listens = listens
        self._works = works
        self._metrics = Metrics(self._backlog, time.time, self._blocked, self._heartbeats)
        self._delivery_log = DeliveryLog(lambda: self._metrics.lanes, self._metrics.observe)
        self._lane_log = LaneLog(lambda: self._metrics.lanes)
        self._reloading = threading.Lock()
        self._retiring: list[threading.Thread] = []
        self._spool: SpoolReader | None = None
        loaded = self._load()
        self._app = HttpApp(loaded.backend, self._metrics, works=works)
        self._app.add(heartbeat_routes(self._app))
        self._app.add(Console(self._app, path, self.refresh).routes)
        self._refused: Revision | None = None
        self._retry_at = 0.0
        with _closing_on_failure(loaded):
            self._listener = self._listen(loaded) if listens else None
            self._start(loaded, self._listener)
        self._ended = threading.Event()
        self._watcher = threading.Thread(
            target=self._watch, name="hostspec configuration", daemon=True
        )
        self._watcher.start()

    @property
    def url(self) -> str:
        """The address that it listens on; empty without a listener."""
        return self._listener.url if self._listener else ""

    def reload(self) -> bool:
        """Reload the configuration; log errors and change nothing if it is wrong."""
        with self._reloading:
            return self._reload()

    def refresh(self) -> bool:
        """Reload if the store's accounts or rules have changed; return whether they are in use.

        A change that is refused is tried again from time to time: its fault may be mended
        elsewhere, and the store may have failed.
        """
        with self._reloading:
            try:
                revision = read_revision(self._app.backend.engine.database)
            except StoreError:
                return False  # the engine reports it
            if revision == self._app.backend.configuration.stored.revision:
                return True
            is_repeat = revision == self._refused
            if is_repeat and time.monotonic() < self._retry_at:
                return False
            if self._reload(is_repeat=is_repeat):
                return True
            self._refused, self._retry_at = revision, time.monotonic() + RETRY_EVERY
            return False

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_EVERY):
            self.refresh()

    def _reload(self, *, is_repeat: bool = False) -> bool:
        """Reload; a repeat logs its errors only if they are new."""
        if self._app.stopping:
            return False
        errors: Sequence[str] = ()
        try:
            self._replace()
        except (ConfigurationError, StoreError) as error:
            errors = messages_of(error)
        if errors and not (is_repeat and errors == self._app.reload_errors):
            for text in errors:
                _log.error("%s", text)
            _log.error("not reloaded: the previous configuration stays active")
        self._app.reload_errors = errors
        self._metrics.count("reloads", "failed" if errors else "succeeded")
        return not errors

    def stop(self) -> bool:
        """Finish deliveries in flight; return whether all were finished in time."""
        deadline = time.monotonic() + STOP_WITHIN

        def left() -> float:
            return max(0.0, deadline - time.monotonic())

        self._app.stopping = True
        self._ended.set()
        if self._spool:
            self._spool.close()
        if self._listener:
            self._listener.close()
        if self._reloading.acquire(timeout=left()):  # wait for a reload in progress
            self._reloading.release()
        self._watcher.join(left())
        engine = self._app.backend.engine
        finished = engine.stop(left())
        if self._listener:
            finished = self._listener.join(left()) and finished
        for thread in self._retiring:
            thread.join(left())
        self._app.close()
        if finished and not any(thread.is_alive() for thread in self._retiring):
            engine.database.close()
            _log.info("stopped")
            return True
        _log.warning("stopped with work unfinished; the next start reclaims it")
        return False

    def _attempted(self, lease: Lease, outcome: Outcome, now: float) -> None:
        self._metrics.attempted(lease, outcome, now)
        self._lane_log.attempted(lease, outcome)

    def _load(self) -> _Loaded:
        source = ConfigFile.read(self._path)
        loaded = configuration.load(source, ready=self._works, listening=self._listens)
        table = source.table("http", HttpTable)
        engine = build_engine(
            source,
            loaded,
            watch=self._attempted,
            watch_planned=lambda _, note: self._metrics.planned(note),
            observe=self._delivery_log.observe,
        )
        backpressure = Backpressure(engine.admin, table.backlog, engine.lanes_of)
        return _Loaded(source, loaded, Backend(engine, table, backpressure, loaded))

    def _replace(self) -> None:
        loaded = self._load()
        old, listener = self._app.backend, self._listener
        new = loaded.backend
        with _closing_on_failure(loaded):
            if new.engine.database.name != old.engine.database.name:
                reason = "changed; restart to switch stores (queued alerts stay in the old one)"
                loaded.source.refuse([Fault("store.url", reason)])
            if self._listens and new.table.address != old.table.address:
                listener = self._listen(loaded)
            self._start(loaded, listener)
        replaced = None if listener is self._listener else self._listener
        self._listener = listener
        thread = threading.Thread(target=_retire, args=(old, replaced), daemon=True)
        thread.start()
        self._retiring = [each for each in self._retiring if each.is_alive()] + [thread]
        _log.info("reloaded")

    def _listen(self, loaded: _Loaded) -> Listener:
        table = loaded.backend.table
        try:
            return Listener(
                table.address,
                self._app.app,
                most=table.most_connections,
                rejected=self._app.rejected_connection,
            )
        except OSError as error:
            why = str(error.strerror).partition(" (")[0]  # Python appends the address
            reason = f"cannot listen on {table.listen}: {why}"
            loaded.source.refuse([Fault("http.listen", reason)])

    def _start(self, loaded: _Loaded, listener: Listener | None) -> None:
        """Start the engine of a configuration, and serve with it from now on."""
        backend = loaded.backend
        try:
            spool = _open_spool(loaded, listener)
            if self._works:
                backend.engine.start()
            else:
                backend.engine.database.migrate()
        except (StoreError, ConfigurationError):
            if listener:
                listener.close_unless_started()
            raise
        self._app.backend = backend
        self._metrics.lanes = LaneNames.of(loaded.configuration)
        self._metrics.faulty_rules = len(loaded.configuration.faulty_rules)
        if listener:
            listener.limit(backend.table.most_connections)
            listener.start()
        if self._spool:
            self._spool.close()
        self._spool = spool
        if spool:
            spool.start()
        self._report(loaded.configuration, backend.engine.admin)
        if listener:
            warning = "" if backend.table.token else ", without a token: any local process can send"
            _log.info("listening on %s%s", listener.url, warning)
        if not self._works:
            _log.info("not delivering: other processes on this store deliver")
        elif not listener:
            _log.info("delivering alerts that other processes on this store accept")

    def _report(self, loaded: Configuration, admin: Admin) -> None:
        """Log the faults and the notes of a configuration that is in use."""
        for fault in loaded.rule_faults():
            _log.error("%s", fault)
        if not loaded.rules:
            _log.warning("note: no rule is in force, so no alert pages anyone")
        for note in (*loaded.notes(), *cut_off_notes(admin, loaded)):
            _log.warning("note: %s", note)

    def _blocked(self) -> Sequence[Blocked]:
        return self._app.backend.engine.admin.blocked()

    def _heartbeats(self) -> Sequence[HeartbeatRow]:
        backend = self._app.backend
        return backend.engine.admin.heartbeats(backend.configuration.heartbeats)

    def _backlog(self) -> Backlog:
        return self._app.backend.engine.admin.backlog()


def _open_spool(loaded: _Loaded, listener: Listener | None) -> SpoolReader | None:
    source = loaded.source
    path = source.table("spool", SpoolTable).path
    if not path:
        return None
    folder = source.folder / path
    if listener is None:
        _log.warning("note: spool.path: %s is not read with --no-http", folder)
        return None
    try:
        return SpoolReader(folder, listener.url, loaded.backend.table)
    except OSError as error:
        source.refuse([Fault("spool.path", f"{folder} cannot be used: {error.strerror}")])


@contextlib.contextmanager
def _closing_on_failure(loaded: _Loaded) -> Iterator[None]:
    try:
        yield
    except BaseException:
        loaded.backend.engine.database.close()
        raise


def _retire(backend: Backend, listener: Listener | None) -> None:
    """Finish the requests and deliveries of the configuration before a reload."""
    if listener is not None:
        listener.close()
        listener.join()
    backend.engine.stop()
    backend.engine.database.close()
