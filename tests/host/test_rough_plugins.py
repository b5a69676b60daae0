"""How ``alerthost`` shows failures and notes of plugins."""

from __future__ import annotations

from pathlib import Path

import pytest
from workspace import Workspace, line

SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture
def environment(workspace: Workspace) -> dict[str, str]:
    """Install the plugin ``rough`` for processes with this environment, and use it in a rule."""
    site = workspace.folder / "site"
    installed = site / "rough-1.2.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: rough\nVersion: 1.2\n")
    (installed / "entry_points.txt").write_text("[hostspec]\nrough = rough\n")
    (site / "rough.py").write_bytes((SUPPORT / "rough.py").read_bytes())
    rule = """
[[installations]]
provider = "rough"
name = "r"

[[rules]]
name = "Shouts"
actions = [{ use = "rough.shout", installation = "r" }]
"""
    workspace.configure(
        ('["pagerduty"]', '["pagerduty", "rough"]'),
        ('severity = "default"\n', f'severity = "default"\n{rule}'),
    )
    return {"PYTHONPATH": str(site)}


def test_failed_plan_is_reported_and_the_rest_is_delivered(
    workspace: Workspace, environment: dict[str, str]
) -> None:
    run = workspace.process("send", given=line("unplannable"), env=environment)

    assert run.returncode == 1
    assert run.stderr.startswith(
        "line 1: rule 'Shouts': the action rough.shout could not plan: it failed at rough.py:"
    )
    assert "the message of an exception" not in run.stderr
    assert run.stdout.splitlines()[-1] == "1 alert, 2 deliveries (2 delivered), 1 planning failure"
    assert len(workspace.fake.incidents) == 2


def test_notes_of_a_delivery_are_shown(workspace: Workspace, environment: dict[str, str]) -> None:
    sent = workspace.process("send", given=line(), env=environment)
    explained = workspace.process("explain", given=line(), env=environment)

    assert (sent.returncode, sent.stderr) == (0, "note: an enricher sulked\n")
    assert "  trigger to r/all\n    note: an enricher sulked\n" in (explained.stdout)


def test_explain_shows_failed_plans(workspace: Workspace, environment: dict[str, str]) -> None:
    run = workspace.process("explain", given=line("unplannable"), env=environment)

    assert (
        "  rule 'Shouts': the action rough.shout could not plan: it failed at rough.py:"
        in run.stdout
    )


def test_account_is_listed_though_its_services_are_unknown(
    workspace: Workspace, environment: dict[str, str]
) -> None:
    module = workspace.folder / "site" / "rough.py"
    text = module.read_text(encoding="utf-8")
    module.write_text(text.replace('[Destination("all", "all")]', "1 / 0"), encoding="utf-8")

    run = workspace.process("installations", env=environment)

    assert (run.returncode, run.stderr) == (0, "")
    reason = "provider rough cannot list its destinations: it failed at rough.py:"
    assert f"({reason}" in run.stdout
    assert "checkout, platform" in run.stdout


def test_demo_must_be_named_if_there_are_several(
    workspace: Workspace, environment: dict[str, str]
) -> None:
    run = workspace.process("demo", env=environment)

    assert run.returncode == 2
    assert "choose a demo: pagerduty, rough" in run.stderr


def test_suppressed_deliveries_are_shown_and_counted(
    workspace: Workspace, environment: dict[str, str]
) -> None:
    sent = workspace.process("send", given=line("suppressed"), env=environment)
    explained = workspace.process("explain", given=line("suppressed"), env=environment)

    assert sent.returncode == 0
    assert "suppressed     firing       r                 suppressed  all asleep" in sent.stdout
    assert sent.stdout.endswith("1 alert, 2 deliveries (2 delivered), 1 suppressed\n")
    assert sent.stderr == "note: another plugin sulked\n"
    reported = "  suppressed by night-watch at r: all asleep\n    note: another plugin sulked\n"
    assert reported in explained.stdout
