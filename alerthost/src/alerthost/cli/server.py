"""What ``alerthost run`` runs: an engine and a front, put in place of each other on a reload."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs

from alerthost.cli.incidents import Reach, cut_off
from alerthost.config import configuration, http_table
from alerthost.config.configuration import Configuration
from alerthost.config.destinations import LaneNames
from alerthost.config.document import ConfigFile, ConfigurationError
from alerthost.config.engine import build_engine
from alerthost.http.app import Backend, HttpApp
from alerthost.http.backpressure import Backpressure
from alerthost.http.delivery_log import DeliveryLog, LaneLog
from alerthost.http.listener import Listener
from alerthost.http.metrics import Metrics
from alerthost.outbox.admin_rows import Backlog, Blocked
from alerthost.outbox.leasing import Lease
from alerthost.store.errors import StoreError
from hostspec.delivery import Outcome
from hostspec.errors import Fault

_log = logging.getLogger("hostspec")

STOP_WITHIN: Final = 8.0
"""Seconds in which everything is finished, or left for the next start to take up."""


@attrs.frozen(eq=False)
class _Loaded:
    """A configuration that is about to be used."""

    source: ConfigFile
    configuration: Configuration
    backend: Backend


class Running:
    """An engine that works, and a front that takes alerts for it.

    Args:
        path: of the configuration.
        listens: there is a front; without one it delivers what other processes take.
        works: the engine works; if not, other processes deliver what is taken here.

    Raises:
        ConfigurationError: the configuration is wrong, or nobody can listen there.
        StoreError: the store cannot be used.
    """

    def __init__(self, path: Path, *, listens: bool = True, works: bool = True) -> None:
        self._path = path
        self._listens = listens
        self._works = works
        self._metrics = Metrics(self._backlog, time.time, self._blocked)
        self._delivery_log = DeliveryLog(lambda: self._metrics.lanes, self._metrics.observe)
        self._lane_log = LaneLog(lambda: self._metrics.lanes)
        self._reloading = threading.Lock()
        self._retiring: list[threading.Thread] = []
        loaded = self._load()
        self._app = HttpApp(loaded.backend, self._metrics, works=works)
        with _closing_on_failure(loaded):
            self._listener = self._listen(loaded) if listens else None
            self._begin(loaded, self._listener)

    @property
    def url(self) -> str:
        """Where it listens; nothing where it does not."""
        return self._listener.url if self._listener else ""

    def reload(self) -> bool:
        """Read the configuration again and use it; or say why not, and change nothing."""
        with self._reloading:
            if self._app.stopping:
                return False
            try:
                self._replace()
            except ConfigurationError as error:
                told = [str(fault) for fault in error.faults]
            except StoreError as error:
                told = [str(error)]
            else:
                told = []
        for text in told:
            _log.error("%s", text)
        if told:
            _log.error("not reloaded: the previous configuration stays active")
        self._metrics.reloaded(succeeded=not told)
        return not told

    def stop(self) -> bool:
        """Finish what is in flight; say whether all of it was, in the time there is."""
        deadline = time.monotonic() + STOP_WITHIN

        def left() -> float:
            return max(0.0, deadline - time.monotonic())

        self._app.stopping = True
        if self._listener:
            self._listener.close()
        if self._reloading.acquire(timeout=left()):  # one that is under way comes to its end
            self._reloading.release()
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
        _log.warning("stopped before all was answered; the next start takes it up")
        return False

    def _attempted(self, lease: Lease, outcome: Outcome, now: float) -> None:
        self._metrics.attempted(lease, outcome, now)
        self._lane_log.attempted(lease, outcome)

    def _load(self) -> _Loaded:
        source = ConfigFile.read(self._path)
        loaded = configuration.load(source, ready=self._works, listening=self._listens)
        table = http_table.read(source)
        observe = self._delivery_log.observe
        engine = build_engine(
            source,
            loaded,
            watch=self._attempted,
            watch_planned=lambda _, note: self._metrics.planned(note),
            observe=observe,
        )
        backpressure = Backpressure(engine.admin, table.backlog, engine.lanes_of)
        return _Loaded(source, loaded, Backend(engine, table, backpressure))

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
            self._begin(loaded, listener)
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
            why = str(error.strerror).partition(" (")[0]  # after which Python says where
            reason = f"cannot listen on {table.listen}: {why}"
            loaded.source.refuse([Fault("http.listen", reason)])

    def _begin(self, loaded: _Loaded, listener: Listener | None) -> None:
        """Start what was loaded, and serve with it from now on."""
        backend = loaded.backend
        try:
            if self._works:
                backend.engine.start()
            else:
                backend.engine.database.migrate()
        except StoreError:
            if listener:
                listener.close_unless_started()
            raise
        self._app.backend = backend
        self._metrics.lanes = LaneNames.of(loaded.configuration)
        if listener:
            listener.limit(backend.table.most_connections)
            listener.start()
        reach = Reach.of(loaded.configuration.plugins, loaded.configuration.installations)
        for note in (*loaded.configuration.notes(), *cut_off(backend.engine.admin, reach)):
            _log.warning("note: %s", note)
        if listener:
            open_to = "" if backend.table.token else ", without a token: to all on this machine"
            _log.info("listening on %s%s", listener.url, open_to)
        if not self._works:
            _log.info("delivering nothing here: other processes on this store do")
        elif not listener:
            _log.info("delivering what other processes on this store take")

    def _blocked(self) -> Sequence[Blocked]:
        return self._app.backend.engine.admin.blocked()

    def _backlog(self) -> Backlog:
        return self._app.backend.engine.admin.backlog()


@contextlib.contextmanager
def _closing_on_failure(loaded: _Loaded) -> Iterator[None]:
    try:
        yield
    except BaseException:
        loaded.backend.engine.database.close()
        raise


def _retire(backend: Backend, listener: Listener | None) -> None:
    """Finish what was begun before a reload."""
    if listener is not None:
        listener.close()
        listener.join()
    backend.engine.stop()
    backend.engine.database.close()
