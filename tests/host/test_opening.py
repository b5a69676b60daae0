"""Programs that embed a host open the file that ``alerthost`` runs with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from workspace import Workspace

import alerthost
import hostspec.inprocess
import hostspec.inprocess.opening
from alerthost.store.database import Database
from alerthost.store.rules import Rules
from hostspec import Alert, FaultsError

ALERT = Alert("db-1/disk", "Disk full", severity="critical", labels={"team": "data"})

UNUSABLE = """
[store]
url = "oracle://nowhere"
[http]
token = "env:NOT_SET"
odd = 1
[spool]
path = 7
[delivery]
workers = "many"
[[heartbeats]]
key = 7
"""

LIGHT = """
import sys
for name in ("sqlalchemy", "alembic", "cryptography", "starlette", "uvicorn", "click", "rich"):
    sys.modules[name] = None
import hostspec.inprocess
host = hostspec.inprocess.open("alerthost.toml")
from hostspec import Alert
print(host.handle(Alert("db-1/disk", "Disk full", severity="critical", labels={"team": "data"})))
"""


@pytest.fixture
def file(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PD_CHECKOUT", workspace.environment()["PD_CHECKOUT"])
    return workspace.folder / "alerthost.toml"


def add(file: Path, text: str) -> None:
    file.write_text(file.read_text(encoding="utf-8") + text, encoding="utf-8")


def faults_of(error: FaultsError, folder: Path) -> list[str]:
    return [str(fault).replace(f"{folder}/", "") for fault in error.faults]


def test_in_process_host_leaves_other_tables_alone(workspace: Workspace, file: Path) -> None:
    add(file, UNUSABLE)

    host = hostspec.inprocess.open(file, timeout=60)

    assert host.timeout == 60
    assert host.handle(ALERT).delivered
    assert host.handle(Alert("other")).unmatched
    assert {each.service for each in workspace.fake.incidents} == {"checkout", "platform"}


def test_in_process_host_needs_no_library_of_the_store(workspace: Workspace, file: Path) -> None:
    """The file of the store lies beside, made by another environment."""
    workspace.migrate()

    ran = subprocess.run(
        [sys.executable, "-c", LIGHT],
        cwd=workspace.folder,
        env=workspace.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ran.stderr, ran.stdout.splitlines()) == (
        "",
        ["trigger acme/checkout: delivered", "trigger acme/platform: delivered"],
    )


def test_all_faults_of_a_file_are_raised_with_their_lines(workspace: Workspace, file: Path) -> None:
    workspace.configure(
        ('installation = "acme"', 'installation = "stored"'),
        ('"platform"]', '"platform"]\nsevirity = "info"'),
    )

    with pytest.raises(FaultsError) as raised:
        hostspec.inprocess.open(file)

    unknown, misspelt, store = faults_of(raised.value, workspace.folder)
    rule = "rule 'Pages': actions[0]"
    assert unknown == (
        f"alerthost.toml, line 19: {rule}.installation: 'stored' is unknown; known are acme"
    )
    assert misspelt.startswith(f"alerthost.toml, line 21: {rule}.sevirity: unknown (did you mean")
    assert store == (
        "alerthost.toml: accounts of the store are not read here; alerthost.open reads them"
    )


def test_a_file_without_rules_is_refused(workspace: Workspace, file: Path) -> None:
    workspace.configure_bare()

    with pytest.raises(FaultsError, match="rules: none are defined, so no alert would page"):
        hostspec.inprocess.open(file)


def test_the_distribution_that_reads_the_file_is_named(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostspec.inprocess.opening, "entry_points", lambda group: ())

    with pytest.raises(FaultsError) as raised:
        hostspec.inprocess.open(file)

    assert str(raised.value) == (
        f"{file}: no installed distribution reads it; install alerthost in this environment"
    )


def test_engine_delivers_by_the_file_and_its_store(workspace: Workspace, file: Path) -> None:
    add(file, '[http]\ntoken = "env:NOT_SET"\nodd = 1\n[spool]\npath = 7\n')
    engine = alerthost.open(file)

    with engine.database, engine:
        (status,) = engine.wait([engine.accept(ALERT)], timeout=60)

    assert [str(each.state) for each in status.entries] == ["delivered", "delivered"]
    assert len(workspace.fake.incidents) == 2
    assert (workspace.folder / "alerthost.db").exists()


def test_engine_that_only_accepts_reads_no_secret(
    workspace: Workspace, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PD_CHECKOUT")
    with pytest.raises(FaultsError, match="environment variable PD_CHECKOUT is not set"):
        alerthost.open(file)

    engine = alerthost.open(file, works=False)
    with engine.database:
        engine.accept(ALERT)

    assert workspace.alerthost("send").returncode == 0
    assert len(workspace.fake.incidents) == 2


def test_engine_logs_faulty_rules_of_the_store(
    workspace: Workspace, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workspace.migrate()
    with Database("sqlite:///alerthost.db", workspace.folder) as database:
        Rules(database).add("Gone", {"actions": [{"use": "pagerduty.trigger"}]})
    with alerthost.open(file).database:
        message, _ = caplog.messages
    assert "rule 'Gone': actions[0].installation: missing; it is required" in message


def test_engine_logs_what_is_not_delivered(
    workspace: Workspace, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = alerthost.open(file)
    with engine.database:
        engine.accept(Alert("stray"))
        engine.drain()

    assert caplog.messages == ["alert stray: unmatched: no rule matches, nothing is sent"]
    assert workspace.fake.requests == ()
