"""Discovery lists the services of an account, and connects the chosen ones."""

from __future__ import annotations

import pytest
from terminal import conversation
from workspace import Workspace

TOKEN = "canary+TOKEN_4567890"


@pytest.fixture(autouse=True)
def directory(workspace: Workspace) -> None:
    workspace.configure_bare()
    workspace.fake.add_api_token(TOKEN)
    workspace.fake.add_integration("orders")
    workspace.fake.create_service("search")
    workspace.fake.create_service("old", status="disabled")


def discover(workspace: Workspace, *more: str) -> tuple[str, ...]:
    url = workspace.fake.url
    options = ("--set", f"api_url={url}", "--set", f"base_url={url}")
    return ("connect", "pagerduty", "acme", "--discover", *options, *more)


def services(workspace: Workspace) -> list[str]:
    shown = workspace.alerthost("services", "acme").stdout
    return [text.split()[0] for text in shown.splitlines()[2:-1]]


def test_services_are_chosen_and_missing_integrations_created(workspace: Workspace) -> None:
    with conversation(workspace, *discover(workspace)) as asked:
        asked.answer("API token: ", TOKEN)
        asked.answer("Kind of token (auto, account, oauth) [auto]: ", "")
        asked.answer("Service region (us, eu) [us]: ", "")
        asked.answer("Connect which: ", "2")
        asked.wait_for("'2' cannot be connected: it is disabled at PagerDuty")
        asked.answer("Connect which: ", "serch")
        asked.wait_for("'serch' is unknown; did you mean 'search'?")
        asked.answer("Connect which: ", "orders, 5")
        asked.answer("Create the missing integrations at pagerduty: search? [y/N]: ", "y")
        assert asked.end() == 0

    assert "connected acme: orders, search; stored in store" in asked.seen
    keys = [each.key for service in workspace.fake.services for each in service.integrations]
    assert not any(secret in asked.seen for secret in (TOKEN, *keys))
    assert services(workspace) == ["orders", "search"]


def test_no_integration_is_created_without_confirmation(workspace: Workspace) -> None:
    run = workspace.alerthost(
        *discover(workspace, "--set", "token=env:PD_TOKEN", "--service", "search"),
        env={"PD_TOKEN": TOKEN},
    )
    assert (run.returncode, run.stderr) == (
        2,
        "--yes: missing; add it, or run the command at a terminal to be asked\n",
    )
    assert not (workspace.folder / "alerthost.db").exists()
    assert all(request.method == "GET" for request in workspace.fake.requests)


def test_all_services_are_connected_without_a_terminal(workspace: Workspace) -> None:
    run = workspace.alerthost(
        *discover(workspace, "--set", "token=env:PD_TOKEN", "--all", "--yes"),
        env={"PD_TOKEN": TOKEN},
    )
    assert run.returncode == 0, run
    assert services(workspace) == ["checkout", "orders", "platform", "search"]


def test_complete_services_need_no_confirmation(workspace: Workspace) -> None:
    run = workspace.alerthost(
        *discover(workspace, "--set", "token=env:PD_TOKEN", "--service", "orders"),
        env={"PD_TOKEN": TOKEN},
    )
    assert run.returncode == 0, run
    assert services(workspace) == ["orders"]
    assert all(request.method == "GET" for request in workspace.fake.requests)


@pytest.mark.parametrize(
    ("more", "code", "reported"),
    [
        (["--set", "token=env:PD_TOKEN"], 2, "--service: missing; add it, or --all"),
        (["--set", "token=env:PD_TOKEN", "--service", "x"], 2, "--service: 'x' is unknown"),
        (["--set", "token=env:PD_TOKEN", "--service", "old"], 2, "--service: 'old' cannot be"),
        (
            ["--set", "token=env:PD_CHECKOUT", "--all"],
            1,
            "not connected: The API token looks like",
        ),
        (
            ["--set", f"token={TOKEN}", "--all"],
            2,
            "--set token: do not put a secret on the command line",
        ),
        (["--all"], 2, "token: missing; it is required"),
        (["--all", "--service", "x"], 2, "--all: cannot be combined with --service"),
        (["--install-flow"], 2, "--discover: cannot be combined with --install-flow"),
    ],
)
def test_a_wrong_option_stores_nothing(
    workspace: Workspace, more: list[str], code: int, reported: str
) -> None:
    run = workspace.alerthost(*discover(workspace, *more), env={"PD_TOKEN": TOKEN})
    assert (run.returncode, run.stdout) == (code, "")
    assert run.stderr.startswith(reported), run.stderr
    assert TOKEN not in run.stderr
    assert not (workspace.folder / "alerthost.db").exists()
