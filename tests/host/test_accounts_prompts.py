"""At a terminal, missing settings are asked for, and again after a wrong answer."""

from __future__ import annotations

import pytest
from terminal import conversation
from workspace import CHECKOUT, PLATFORM, Workspace


@pytest.fixture(autouse=True)
def bare(workspace: Workspace) -> None:
    workspace.configure_bare()


def test_an_account_is_connected_by_answering_questions(workspace: Workspace) -> None:
    with conversation(workspace, "connect", "pagerduty") as asked:
        asked.answer("Name: ", " ")
        asked.wait_for("the name is blank")
        asked.answer("Name: ", "acme")
        asked.answer("Service region (us, eu) [us]: ", "uk")
        asked.answer("Service region (us, eu) [us]: ", "eu")
        asked.answer("Service: ", "checkout")
        asked.wait_for("a list of both, the\nnew one first.\n")  # of 80 columns, between words
        asked.answer("Integration key: ", "abc")
        asked.wait_for("not an integration key: expected 32 letters and digits, got 3 char")
        asked.answer("Integration key: ", CHECKOUT)
        asked.answer("Add another? [y/N]: ", "y")
        asked.answer("Service: ", "checkout")
        asked.answer("Integration key: ", PLATFORM)
        asked.wait_for("'checkout' is used twice")
        asked.answer("Service: ", "platform")
        asked.answer("Add another? [y/N]: ", "")
        assert asked.end() == 0

    assert "connected acme: checkout, platform; stored in store" in asked.seen
    assert not any(secret in asked.seen for secret in ("abc", CHECKOUT, PLATFORM))
    assert [
        question for question in ("Base URL", "Subdomain", "Id:") if question in asked.seen
    ] == []
    shown = workspace.alerthost("explain", given='{"key": "k"}')
    assert shown.returncode == 0


def test_only_settings_without_an_option_are_asked_for(workspace: Workspace) -> None:
    options = ("--set", "region=eu", "--set", f"base_url={workspace.fake.url}")
    with conversation(workspace, "connect", "pagerduty", "acme", *options) as asked:
        asked.answer("Service: ", "checkout")
        asked.answer("Integration key: ", "env:PD_CHECKOUT")
        asked.answer("Add another? [y/N]: ", "n")
        assert asked.end() == 0
    assert "region" not in asked.seen
    options = ("--service", "checkout=env:PD_CHECKOUT")
    with conversation(workspace, "connect", "pagerduty", "labs", *options) as asked:
        assert asked.end() == 0


def test_a_wrong_option_is_an_error_before_any_question(workspace: Workspace) -> None:
    with conversation(workspace, "connect", "pagerduty", "acme", "--set", "region=uk") as asked:
        assert asked.end() == 2
    assert asked.seen.startswith("region: 'uk' is unknown; known are us, eu\n")


def test_ctrl_c_stores_nothing(workspace: Workspace) -> None:
    with conversation(workspace, "connect", "pagerduty", "acme") as asked:
        asked.answer("[us]: ", "")
        asked.answer("Service: ", "checkout")
        asked.wait_for("Integration key: ")
        asked.type("\x03")
        assert asked.end() == 1
    assert "Traceback" not in asked.seen
    assert not (workspace.folder / "alerthost.db").exists()


def test_without_a_store_key_only_a_reference_is_accepted(workspace: Workspace) -> None:
    (workspace.folder / "alerthost.toml").write_text('[plugins]\nenabled = ["pagerduty"]\n')
    with conversation(workspace, "connect", "pagerduty", "acme") as asked:
        asked.answer("[us]: ", "")
        asked.answer("Service: ", "checkout")
        asked.answer("Integration key: ", CHECKOUT)
        asked.wait_for("secrets are stored only sealed: create a key with `alerthost new-key`")
        asked.answer("Integration key: ", "env:PD_CHECKOUT")
        asked.answer("Add another? [y/N]: ", "n")
        assert asked.end() == 0


def test_services_are_changed_by_answering_questions(workspace: Workspace) -> None:
    arguments = ("connect", "pagerduty", "acme", "--service", "checkout=env:PD_CHECKOUT")
    assert workspace.alerthost(*arguments).returncode == 0

    with conversation(workspace, "services", "acme", "add", "web") as asked:
        asked.answer("Integration key: ", "env:PD_CHECKOUT")
        asked.wait_for("the same key is used twice")
        asked.answer("Integration key: ", PLATFORM)
        assert asked.end() == 0
    with conversation(workspace, "services", "acme", "rotate", "web") as asked:
        asked.answer("Integration key: ", PLATFORM)
        asked.wait_for("the same key is used twice")
        asked.answer("Integration key: ", "n" * 32)
        assert asked.end() == 0
    with conversation(workspace, "services", "acme", "remove", "web") as asked:
        asked.answer("Remove web of acme? [y/N]: ", "n")
        assert asked.end() == 1
    with conversation(workspace, "disconnect", "acme") as asked:
        asked.answer("Disconnect acme? [y/N]: ", "y")
        assert asked.end() == 0
    assert PLATFORM not in asked.seen
