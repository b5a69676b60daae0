"""Secrets of the configuration: references, plain keys, and mistakes in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from workspace import CHECKOUT, PLATFORM, Workspace, line

from alerthost.store.database import Database
from hostspec import Secret
from hostspec.secret import reference_fault

KEY = "env:PD_CHECKOUT"


def test_quotes_around_a_key_are_removed_and_noted(workspace: Workspace) -> None:
    quoted = {"PD_CHECKOUT": f'"{CHECKOUT}"'}

    run = workspace.alerthost("check", env=quoted)

    place = "note: installation 'acme': services[0].integration_key"
    assert (run.returncode, run.stderr) == (0, f"{place} is in quotes, which are left out\n")
    assert workspace.alerthost("send", given=line(), env=quoted).returncode == 0
    assert {body["routing_key"] for body in workspace.bodies()} == {CHECKOUT, PLATFORM}


def test_a_plain_key_works_and_is_noted(workspace: Workspace) -> None:
    workspace.configure((KEY, CHECKOUT))

    run = workspace.alerthost("check")

    assert run.returncode == 0
    assert "services[0].integration_key is written in clear; a reference is safer" in run.stderr
    assert CHECKOUT not in run.stderr + run.stdout
    assert workspace.alerthost("send", given=line()).returncode == 0


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("ENV:PD_CHECKOUT", "env:PD_CHECKOUT"),
        ("$PD_CHECKOUT", "env:PD_CHECKOUT"),
        ("${PD_CHECKOUT}", "env:PD_CHECKOUT"),
        ("File:key", "file:key"),
        ("env: PD_CHECKOUT", "env:PD_CHECKOUT"),
        ("env :PD_CHECKOUT", "env:PD_CHECKOUT"),
        ("$env:PD_CHECKOUT", "env:PD_CHECKOUT"),
        ("${env:PD_CHECKOUT}", "env:PD_CHECKOUT"),
        ("%PD_CHECKOUT%", "env:PD_CHECKOUT"),
        ("env.PD_CHECKOUT", "env:PD_CHECKOUT"),
        ("env=pd_checkout", "env:pd_checkout"),
        ("PD_CHECKOUT", "env:PD_CHECKOUT"),
        ("'PD_CHECKOUT'", "env:PD_CHECKOUT"),
        ("'env:PD_CHECKOUT'", "env:PD_CHECKOUT"),
    ],
)
def test_a_wrong_reference_is_an_error_with_the_right_one(
    workspace: Workspace, given: str, meant: str
) -> None:
    workspace.configure((KEY, given))

    run = workspace.alerthost("check")

    assert run.returncode == 2
    assert f"services[0].integration_key: not a reference; write {meant}\n" in run.stderr


@pytest.mark.parametrize(
    ("given", "quote"),
    [
        ("'env:PD_CHECKOUT", "' (U+0027)"),
        ("env:PD_CHECKOUT'", "' (U+0027)"),
        ("\u201cenv:PD_CHECKOUT\u201d", "\u201c (U+201C)"),
        ("PD_CHECKOUT\u2019", "\u2019 (U+2019)"),
    ],
)
def test_a_stray_quote_around_a_reference_is_an_error(
    workspace: Workspace, given: str, quote: str
) -> None:
    workspace.configure((KEY, given))

    run = workspace.alerthost("check")

    assert run.returncode == 2
    reason = f"has the quote {quote} around it; write env:PD_CHECKOUT\n"
    assert f"services[0].integration_key: {reason}" in run.stderr


@pytest.mark.parametrize("quoted", ['"{}', "{}'", "\u201c{}\u201d", "{}\u2019"])
def test_a_stray_quote_around_a_key_is_an_error(workspace: Workspace, quoted: str) -> None:
    run = workspace.alerthost("check", env={"PD_CHECKOUT": quoted.format(CHECKOUT)})

    assert run.returncode == 2
    quote = quoted.strip("{}")[0]
    assert f"got the quote {quote} (U+{ord(quote):04X}); remove it" in run.stderr
    assert CHECKOUT not in run.stderr


@pytest.mark.parametrize("given", ["Ab_CD", "HUNTER2", "A1_" * 30, "$1", "a%B_C%", "pass'"])
def test_other_texts_are_secrets(given: str) -> None:
    assert reference_fault(given) is None


def test_an_invisible_character_in_a_key_is_an_error(workspace: Workspace) -> None:
    run = workspace.alerthost("check", env={"PD_CHECKOUT": f"\u200b{CHECKOUT}"})

    assert run.returncode == 2
    assert "got the invisible character U+200B; remove it" in run.stderr


def test_files_of_keys_are_relative_to_the_configuration(
    workspace: Workspace, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    workspace.configure((f"file:{workspace.folder}/pd_platform", "file:pd_platform"))
    file = str(workspace.folder / "alerthost.toml")
    moved = Workspace(elsewhere, workspace.fake)

    assert moved.alerthost("check", "--config", file).returncode == 0
    assert moved.alerthost("services", "--config", file, "acme").returncode == 0
    (workspace.folder / "pd_platform").unlink()
    missing = moved.alerthost("check", "--config", file)

    assert missing.returncode == 2
    assert f"the file {workspace.folder}/pd_platform cannot be read" in missing.stderr


def test_a_tilde_in_a_path_is_the_home_directory(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (workspace.folder / "pd_platform").rename(home / "key")
    monkeypatch.setenv("HOME", str(home))
    store = '[store]\nurl = "sqlite:///~/alerts.db"\n\n[plugins]'
    workspace.configure(
        (f"file:{workspace.folder}/pd_platform", "file:~/key"), ("[plugins]", store)
    )

    assert workspace.alerthost("send", given=line()).returncode == 0
    assert (home / "alerts.db").exists()


def test_a_tilde_is_kept_without_a_home_directory(workspace: Workspace) -> None:
    workspace.configure((f"file:{workspace.folder}/pd_platform", "file:~no-such-user/key"))

    run = workspace.alerthost("check")

    assert f"the file {workspace.folder}/~no-such-user/key cannot be read" in run.stderr


def test_a_slash_in_the_name_of_an_account_is_an_error(workspace: Workspace) -> None:
    workspace.configure(('name = "acme"', 'name = "ac/me"'))

    run = workspace.alerthost("check")

    assert run.returncode == 2
    assert "has a /, which separates an account from its service" in run.stderr


def test_a_misspelt_table_is_one_error(workspace: Workspace) -> None:
    workspace.configure(
        ("[[installations]]", "[[instalations]]"),
        ("[installations.settings]", "[instalations.settings]"),
    )

    run = workspace.alerthost("check")

    assert len(run.stderr.splitlines()) == 1
    assert "'instalations' is unknown; did you mean 'installations'?" in run.stderr


def test_an_error_in_an_installation_hides_no_unknown_service(workspace: Workspace) -> None:
    workspace.configure(
        ('base_url = "', 'regoin = "eu"\nbase_url = "'),
        ('services = ["checkout", "platform"]', 'services = ["chekout"]'),
    )

    run = workspace.alerthost("check")

    assert len(run.stderr.splitlines()) == 2
    assert "regoin: unknown" in run.stderr
    assert "chekout" in run.stderr


def test_both_url_schemes_of_postgresql_are_accepted(tmp_path: Path) -> None:
    with Database("postgres://me:secret@db.example/alerts", tmp_path) as database:
        assert database.name == "postgresql://db.example/alerts"


def test_a_plain_secret_that_is_not_a_key_has_no_notes() -> None:
    assert list(Secret("correct horse").notes()) == []


def test_an_unreadable_secret_has_no_notes() -> None:
    assert list(Secret("env:NOT_SET_ANYWHERE").notes()) == []
