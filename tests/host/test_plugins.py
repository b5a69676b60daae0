"""``alerthost plugins`` and ``alerthost schema``: the plugins and their settings."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner
from workspace import Workspace

from alerthost.cli.main import main
from pagerduty_plugin.provider import PagerDuty


def _row(text: str, plugin: str) -> list[str]:
    row = next(row for row in text.splitlines() if row.startswith(plugin))
    return row.split(maxsplit=4)


def test_enabled_plugins_are_listed_with_their_offers(workspace: Workspace) -> None:
    run = workspace.alerthost("plugins", env={"PD_CHECKOUT": None})

    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines()[1].split() == [
        "plugin",
        "version",
        "distribution",
        "state",
        "offers",
    ]
    assert _row(run.stdout, "pagerduty") == [
        "pagerduty",
        "0.1.0",
        "pagerduty-plugin",
        "active",
        "pagerduty, pagerduty.trigger, pagerduty.change",
    ]
    assert _row(run.stdout, "webhook")[2:] == ["hostspec-webhook", "disabled", "not enabled"]


def test_failed_plugin_is_listed_with_exit_code_2(workspace: Workspace) -> None:
    workspace.configure(('["pagerduty"]', '["pagerduty", "nope"]'))

    run = workspace.alerthost("plugins")

    assert run.returncode == 2
    assert _row(run.stdout, "nope")[3:] == [
        "failed",
        "is not installed; installed are night-watch, pagerduty, saboteur, tickets, webhook",
    ]


def test_without_a_file_installed_plugins_are_listed_as_disabled(workspace: Workspace) -> None:
    (workspace.folder / "alerthost.toml").unlink()

    run = workspace.alerthost("plugins")

    assert run.returncode == 0
    assert _row(run.stdout, "pagerduty")[3] == "disabled"


def test_file_with_invalid_plugins_is_rejected(workspace: Workspace) -> None:
    workspace.configure(('["pagerduty"]', "3"))

    run = workspace.alerthost("plugins")

    assert (run.returncode, run.stderr) == (
        2,
        "alerthost.toml, line 2: plugins.enabled: must be a list, not the number 3\n",
    )


def test_named_file_must_exist(workspace: Workspace) -> None:
    run = workspace.alerthost("plugins", "--config", "other.toml")

    assert run.returncode == 2


@pytest.mark.parametrize("name", ["pagerduty", "pagerduty.trigger", "pagerduty.change", "webhook"])
@pytest.mark.parametrize("configured", [True, False])
def test_schemas_are_valid_json_schema(
    workspace: Workspace, name: str, *, configured: bool
) -> None:
    if not configured:
        (workspace.folder / "alerthost.toml").unlink()

    run = workspace.alerthost("schema", name)

    assert run.returncode == 0
    schema = json.loads(run.stdout)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)


def test_services_of_an_account_are_choices_of_an_action(workspace: Workspace) -> None:
    run = workspace.alerthost("schema", "pagerduty.trigger", "acme", env={"PD_CHECKOUT": None})

    assert run.returncode == 0
    schema = json.loads(run.stdout)
    assert schema["properties"]["services"]["items"]["oneOf"] == [
        {"const": "checkout", "title": "checkout"},
        {"const": "platform", "title": "platform"},
    ]
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid({"services": ["platform"]})
    assert not validator.is_valid({"services": ["elsewhere"]})


@pytest.mark.parametrize(
    ("arguments", "reported"),
    [
        (["pagerduty", "acme"], "ACCOUNT: cannot be used: pagerduty is a provider, not an action"),
        (["tickets.open", "acme"], "ACCOUNT: 'acme' is of pagerduty, not tickets"),
        (["pagerduty.trigger", "acm"], "the account 'acm' is unknown; did you mean 'acme'?"),
    ],
)
def test_account_that_does_not_fit_is_rejected(
    workspace: Workspace, arguments: list[str], reported: str
) -> None:
    run = workspace.alerthost("schema", *arguments)

    assert (run.returncode, run.stdout, run.stderr) == (2, "", f"{reported}\n")


def test_provider_that_fails_to_list_destinations_has_no_choices(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(PagerDuty, "destinations", fail)

    run = workspace.alerthost("schema", "pagerduty.trigger", "acme")

    assert run.returncode == 2
    assert run.stderr.startswith("ACCOUNT: provider pagerduty cannot list its destinations: ")


def test_unknown_name_is_rejected_with_a_suggestion(workspace: Workspace) -> None:
    run = workspace.alerthost("schema", "pagerduty.tigger")

    assert run.returncode == 2
    assert "'pagerduty.tigger' is unknown; did you mean 'pagerduty.trigger'?" in run.stderr


@pytest.mark.parametrize("command", ["send", "explain", "plugins", "schema", "demo"])
def test_every_command_has_help_with_an_example(workspace: Workspace, command: str) -> None:
    run = workspace.alerthost(command, "--help")

    assert run.returncode == 0
    assert f"\n  Example:\n    alerthost {command}" in run.stdout


@pytest.mark.parametrize("arguments", [["sned"], ["send", "--nope"], ["schema"]])
def test_usage_error_is_exit_code_2(workspace: Workspace, arguments: list[str]) -> None:
    run = workspace.alerthost(*arguments)

    assert run.returncode == 2
    assert "Traceback" not in run.stderr


SHIFTS = """
import attrs
from hostspec import Secret, hookimpl

@attrs.frozen
class Shifts:
    timezone: str
    token: Secret | None = None

@hookimpl
def hostspec_settings():
    return Shifts

@hookimpl
def hostspec_configure(settings):
    print("configured for", settings.timezone, settings.token and settings.token.reference)
"""


@pytest.fixture
def _shifts(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, _all_distributions_are_read: None
) -> Iterator[None]:
    """Install a plugin with settings beside the workspace."""
    info = workspace.folder / "site" / "shifts-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shifts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hostspec]\nshifts = shifts_plugin\n")
    (info.parent / "shifts_plugin.py").write_text(SHIFTS)
    monkeypatch.syspath_prepend(info.parent)
    yield
    sys.modules.pop("shifts_plugin", None)


@pytest.mark.usefixtures("_shifts")
def test_settings_of_a_plugin_are_checked_and_passed_to_it(workspace: Workspace) -> None:
    table = '["pagerduty", "shifts"]\n[plugins.shifts]\ntimezone = "UTC"'
    workspace.configure(('["pagerduty"]', table))
    well = workspace.alerthost("check")
    wrong = table.replace('"UTC"', "7\n[plugins.pagerdut]\nx = 1")
    workspace.configure(('["pagerduty"]', wrong))
    faulty = workspace.alerthost("check")

    assert (well.returncode, faulty.returncode) == (0, 2)
    assert "configured for UTC" in well.stdout
    reported = [line.partition("plugins.")[2] for line in faulty.stderr.splitlines()]
    assert "pagerdut: 'pagerdut' is unknown; did you mean 'pagerduty'?" in reported
    assert any(line.startswith("shifts.timezone: must be text") for line in reported)


@pytest.mark.usefixtures("_shifts")
@pytest.mark.parametrize("command", ["check", "plugins"])
def test_file_in_the_settings_of_a_plugin_is_relative_to_the_configuration(
    workspace: Workspace, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = '["pagerduty", "shifts"]\n[plugins.shifts]\ntimezone = "UTC"\ntoken = "file:calendar"'
    workspace.configure(('["pagerduty"]', table))
    monkeypatch.chdir(tmp_path)
    file = str(workspace.folder / "alerthost.toml")

    run = CliRunner().invoke(main, [command, "--config", file], env={"PD_CHECKOUT": "x"})

    assert f"configured for UTC file:{workspace.folder}/calendar" in run.output


@pytest.mark.usefixtures("_shifts")
def test_schema_of_the_settings_of_a_plugin_is_printed(workspace: Workspace) -> None:
    run = workspace.alerthost("schema", "shifts")
    beside = workspace.alerthost("schema", "shifts", "acme")

    assert json.loads(run.stdout)["required"] == ["timezone"]
    assert "cannot be used: shifts is a plugin, not an action" in beside.stderr


def test_every_fault_of_the_table_of_plugins_is_reported(workspace: Workspace) -> None:
    for given, reported in (
        ('enabld = ["x"]', "did you mean 'enabled'?"),
        ("enabled = 7", "a list"),
    ):
        workspace.configure(('enabled = ["pagerduty"]', given))
        run = workspace.alerthost("plugins")
        assert run.returncode == 2
        assert "plugins.enab" in run.stderr
        assert reported in run.stderr
