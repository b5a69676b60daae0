"""``alerthost installations set``: settings of a stored account, all of them or none."""

from __future__ import annotations

import json

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


def test_nothing_is_changed_where_one_setting_is_wrong(workspace: Workspace) -> None:
    connected(workspace)

    for wrong in ("rate_limit=many", "regoin=eu", "region=mars"):
        run = workspace.alerthost(
            "installations", "set", "acme", "base_url=http://127.0.0.1:1", wrong
        )
        assert run.returncode == 2
        assert run.stderr

    assert workspace.alerthost("send", given=json.dumps({"key": "a"})).returncode == 0


def test_open_incidents_are_listed_before_a_change(workspace: Workspace) -> None:
    connected(workspace)
    workspace.alerthost("send", given=json.dumps({"key": "db-1/disk"}))

    run = workspace.alerthost("installations", "set", "acme", "rate_limit=240")

    assert "db-1/disk" in run.stdout
    assert "open incidents stay where they were opened" in run.stderr


def test_the_address_of_an_account_is_changed(workspace: Workspace) -> None:
    connected(workspace)
    with FakePagerDuty() as other:
        other.add_service("checkout", CHECKOUT)

        run = workspace.alerthost("installations", "set", "acme", f"base_url={other.url}")

        assert run.returncode == 0, run.stderr
        assert workspace.alerthost("send", given=json.dumps({"key": "a"})).returncode == 0
        assert len(other.requests) == 1
