"""Accounts of the store are used beside those of the file; errors have their location."""

from __future__ import annotations

import json
import sqlite3

import pytest
from workspace import STORE_KEY, Workspace, errors_of, line

STORE = "store sqlite:///alerthost.db"


def connect(workspace: Workspace, name: str) -> None:
    run = workspace.alerthost("connect", "pagerduty", name, "--service", "a=env:PD_CHECKOUT")
    assert run.returncode == 0, run


def errors(workspace: Workspace, command: str = "explain") -> list[str]:
    return errors_of(workspace.alerthost(command, given=line()))


def test_a_name_in_the_file_and_the_store_is_an_error_with_both(workspace: Workspace) -> None:
    workspace.configure_bare()
    connect(workspace, "acme")
    other = "[[installations]]\nprovider = 'pagerduty'\nname = 'labs'\nsettings = { services = ["
    service = "{ name = 'a', integration_key = 'env:PD_CHECKOUT' }] }\n\n[[rules]]"
    workspace.configure(("[[rules]]", other + service))

    assert errors(workspace) == [
        f"{STORE}: installation 'acme': name: 'acme' is declared in the file too",
        "alerthost.toml, line 6: installation 'acme': name: "
        "'acme' is in the store too; rename or remove one of them",
    ]


def test_a_stored_account_needs_its_plugin(workspace: Workspace) -> None:
    workspace.configure_bare()
    connect(workspace, "acme")
    (workspace.folder / "alerthost.toml").write_text("[plugins]\nenabled = []\n")

    [reported] = errors(workspace)
    assert reported.startswith(
        f"{STORE}: installation 'acme': provider: "
        "no enabled plugin offers the provider 'pagerduty'; installed are"
    )
    run = workspace.alerthost("installations")
    assert run.returncode == 2
    assert run.stderr.splitlines() == [reported]


def test_a_stored_account_changed_by_another_program_is_an_error(workspace: Workspace) -> None:
    """Its secret would be read here, and sent to the changed address."""
    workspace.configure_bare()
    connect(workspace, "acme")
    with sqlite3.connect(workspace.folder / "alerthost.db") as database:
        ((text,),) = database.execute("SELECT settings FROM installations").fetchall()
        settings = {**json.loads(text), "base_url": workspace.fake.url}
        database.execute("UPDATE installations SET settings = ?", [json.dumps(settings)])

    for command in (["send"], ["explain"], ["services", "acme"], ["installations"]):
        run = workspace.alerthost(*command, given=line())
        assert run.returncode == 2
        assert "installation 'acme': settings: another program changed it" in run.stderr
    change = workspace.alerthost("installations", "set", "acme", "rate_limit=240")
    assert change.returncode == 2, "it is not sealed as it is now"

    assert workspace.alerthost("disconnect", "acme", "--yes").returncode == 0
    connect(workspace, "acme")
    assert workspace.alerthost("installations").returncode == 0


def test_reading_commands_create_no_store(workspace: Workspace) -> None:
    reading = ("explain", "check", "installations", "services", "deliveries", "incidents")
    for command in reading:
        arguments = [command, "acme"] if command == "services" else [command]
        assert workspace.alerthost(*arguments, given=line()).returncode == 0
    assert [path.name for path in workspace.folder.glob("alerthost.db*")] == []


@pytest.mark.parametrize(
    ("table", "reported"),
    [
        ("colour = 1", "line 24: store.colour: unknown; known are url, key"),
        (f'key = "{STORE_KEY}"', "line 24: store.key: must not be written here; use a reference"),
        ('url = "mysql://x"', "line 23: store: [store] url names mysql, which is not supported"),
        ('url = "nonsense"', "line 23: store: [store] url is not a database URL"),
        ('url = "sqlite:///pd_platform"', "is not a SQLite database; name another file"),
    ],
)
def test_a_wrong_store_table_is_an_error(workspace: Workspace, table: str, reported: str) -> None:
    workspace.configure(('severity = "default"\n', f'severity = "default"\n\n[store]\n{table}\n'))

    for command in ("explain", "send"):
        assert reported in errors(workspace, command)[0]
    run = workspace.alerthost("installations")
    assert run.returncode == 2
    assert reported.rpartition(": ")[2] in run.stderr
    assert STORE_KEY not in run.stderr


def test_a_store_elsewhere_is_named_by_its_url(workspace: Workspace) -> None:
    (workspace.folder / "var").mkdir()
    workspace.configure_bare('url = "sqlite:///var/alerts.db"\n')
    connect(workspace, "acme")

    assert (
        workspace.alerthost("installations")
        .stdout.splitlines()[2]
        .endswith("store sqlite:///var/alerts.db")
    )
    with sqlite3.connect(workspace.folder / "var/alerts.db") as database:
        assert database.execute("SELECT name FROM installations").fetchall() == [("acme",)]


def test_the_file_and_its_key_are_beside_the_configuration(workspace: Workspace) -> None:
    workspace.configure_bare()
    run = workspace.alerthost("services", "--config", "elsewhere/alerthost.toml", "acme")
    assert run.returncode == 2
    folder = workspace.folder / "elsewhere"
    folder.mkdir()
    for name in ("alerthost.toml", "alerthost.key"):
        (workspace.folder / name).rename(folder / name)
    given = '{"services": [{"name": "a", "integration_key": "' + "a" * 32 + '"}]}'
    arguments = ("connect", "--config", "elsewhere/alerthost.toml", "pagerduty", "acme")

    run = workspace.alerthost(*arguments, "--settings", "-", given=given)

    assert run.returncode == 0, run
    assert (folder / "alerthost.db").exists()
