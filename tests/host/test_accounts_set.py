"""``alerthost installations set`` changes settings of a stored account: all or none."""

from __future__ import annotations

import contextlib
import functools
import json
import sqlite3

import pytest
from workspace import CHECKOUT, Workspace

from pagerduty_plugin.testing import FakePagerDuty

RULE = """
[[rules]]
name = "Pages"
[[rules.actions]]
use = "pagerduty.trigger"
installation = "acme"
services = ["checkout"]
"""


def connected(workspace: Workspace) -> None:
    workspace.configure_bare(RULE)
    run = workspace.alerthost(
        *("connect", "pagerduty", "acme", "--service", "checkout=env:PD_CHECKOUT"),
        *("--set", f"base_url={workspace.fake.url}"),
    )
    assert run.returncode == 0, run.stderr


def test_settings_of_an_account_are_changed(workspace: Workspace) -> None:
    connected(workspace)

    run = workspace.alerthost("installations", "set", "acme", "rate_limit=240")

    assert (run.returncode, run.stdout, run.stderr) == (0, "changed acme\n", "")
    assert workspace.alerthost("send", given=json.dumps({"key": "a"})).returncode == 0
    assert "checkout" in workspace.alerthost("installations").stdout


def test_one_wrong_setting_changes_nothing(workspace: Workspace) -> None:
    connected(workspace)

    for wrong in ("rate_limit=many", "regoin=eu", "region=mars"):
        run = workspace.alerthost(
            "installations", "set", "acme", "base_url=http://127.0.0.1:1", wrong
        )
        assert run.returncode == 2
        assert run.stderr

    assert workspace.alerthost("send", given=json.dumps({"key": "a"})).returncode == 0


def test_a_change_that_orphans_open_incidents_is_confirmed_first(workspace: Workspace) -> None:
    connected(workspace)
    workspace.alerthost("send", given=json.dumps({"key": "db-1/disk"}))
    elsewhere = ("installations", "set", "acme", "base_url=http://127.0.0.1:1")

    asked = workspace.alerthost(*elsewhere)

    assert asked.returncode == 2
    assert "db-1/disk" in asked.stdout
    assert "These incidents cannot be closed from here" in asked.stderr
    assert "--yes: missing" in asked.stderr
    reported = json.dumps({"key": "db-1/disk", "status": "resolved"})
    assert workspace.alerthost("send", given=reported).returncode == 0, "the account is as it was"

    workspace.alerthost("send", given=json.dumps({"key": "db-1/disk"}))
    assert workspace.alerthost(*elsewhere, "--yes").stdout.endswith("changed acme\n")


def test_a_change_that_orphans_nothing_needs_no_confirmation(workspace: Workspace) -> None:
    connected(workspace)
    workspace.alerthost("send", given=json.dumps({"key": "db-1/disk"}))

    run = workspace.alerthost("installations", "set", "acme", "rate_limit=240")

    assert (run.returncode, run.stdout, run.stderr) == (0, "changed acme\n", "")


def test_keys_of_tables_are_set_by_dotted_names(workspace: Workspace) -> None:
    connected(workspace)
    setting = functools.partial(workspace.alerthost, "installations", "set", "acme")
    environment: dict[str, str | None] = {"EGRESS_PROXY": "http://127.0.0.1:1"}

    for members in (
        ["base_url=https://127.0.0.1:1", "network.proxy=env:EGRESS_PROXY"],
        ["network.connect_timeout=4"],
    ):
        run = setting(*members, env=environment)
        assert run.returncode == 0, run.stderr

    with contextlib.closing(sqlite3.connect(workspace.folder / "alerthost.db")) as database:
        ((stored,),) = database.execute("SELECT settings FROM installations").fetchall()
    network = json.loads(stored)["network"]
    assert network["connect_timeout"] == 4.0
    assert network["proxy"] == "env:EGRESS_PROXY", "it is kept beside the other"


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("network.proxi=env:X", "--set network: 'proxi' is unknown; did you mean 'proxy'?"),
        ("netwrk.proxy=env:X", "--set: 'netwrk' is unknown; did you mean 'network'?"),
        ("network=env:X", "--set network: is a table; set its keys, such as network.proxy=VALUE"),
        ("region.name=eu", "--set region: is not a table"),
        (
            "network.proxy=http://u:pw@p:1",
            "--set network.proxy: do not put a secret on the command line",
        ),
        ("network.timeout=soon", "network.timeout: must be a number, not text"),
    ],
)
def test_an_unknown_key_of_a_table_is_an_error(
    workspace: Workspace, setting: str, reason: str
) -> None:
    connected(workspace)

    run = workspace.alerthost("installations", "set", "acme", setting)

    assert run.returncode == 2
    assert reason in run.stderr
    assert "pw" not in run.stderr


def test_the_address_of_an_account_is_changed(workspace: Workspace) -> None:
    connected(workspace)
    with FakePagerDuty() as other:
        other.add_service("checkout", CHECKOUT)

        run = workspace.alerthost("installations", "set", "acme", f"base_url={other.url}")

        assert run.returncode == 0, run.stderr
        assert workspace.alerthost("send", given=json.dumps({"key": "a"})).returncode == 0
        assert len(other.requests) == 1
