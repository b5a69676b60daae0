"""The services of a stored account are added, renamed, rotated and removed."""

from __future__ import annotations

import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import pytest
from workspace import CHECKOUT, PLATFORM, Workspace, line, printed_lines

from alerthost.config.accounts import Accounts, Consequences
from alerthost.config.document import ConfigFile
from alerthost.config.store import open_store
from hostspec import setting
from pagerduty_plugin.installation.service_table import ServiceTable
from pagerduty_plugin.testing import refusing
from pagerduty_plugin.trigger import Trigger

RULE = """
[[rules]]
name = "Pages"
[[rules.actions]]
use = "pagerduty.trigger"
installation = "acme"
services = ["checkout"]
"""


@pytest.fixture(autouse=True)
def connected(workspace: Workspace) -> None:
    workspace.configure_bare(RULE)
    given = {
        "base_url": workspace.fake.url,
        "services": [
            {"name": "checkout", "integration_key": CHECKOUT, "id": "one"},
            {"name": "web", "integration_key": "w" * 32, "id": "two"},
        ],
    }
    arguments = ("connect", "pagerduty", "acme", "--settings", "-")
    assert workspace.alerthost(*arguments, given=json.dumps(given)).returncode == 0


def state(workspace: Workspace) -> list[list[str]]:
    """Return id, name and keys of each stored service."""
    with contextlib.chdir(workspace.folder):
        source = ConfigFile.read(Path("alerthost.toml"))
        with open_store(source) as store:
            [account] = Accounts(source, store).installations()
            return [
                [service.id, service.name, *(key.reveal() for key in service.keys)]
                for service in account.settings.services
            ]


def change(workspace: Workspace, *arguments: str) -> tuple[int, str, str]:
    run = workspace.alerthost("services", "acme", *arguments)
    assert CHECKOUT not in run.stdout + run.stderr
    return run.returncode, run.stdout, run.stderr


def test_control_characters_in_the_name_of_an_account_are_escaped(workspace: Workspace) -> None:
    name = "ac\x1b[31mme"
    workspace.configure(('"acme"', r'"ac\u001b[31mme"'))

    shown = workspace.alerthost("services", name)

    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.splitlines()[0] == r"Services of ac\x1b[31mme"


def test_a_service_is_added_by_reference(workspace: Workspace) -> None:
    added = change(workspace, "add", "platform", "--key", "file:pd_platform")

    assert added == (0, "added platform to acme\n", "")
    rows = state(workspace)
    assert [row[1:] for row in rows] == [
        ["checkout", CHECKOUT],
        ["web", "w" * 32],
        ["platform", PLATFORM],
    ]
    assert [row[0] for row in rows[:2]] == ["one", "two"]
    shown = workspace.alerthost("services", "acme").stdout
    assert shown.splitlines()[:2] == ["Services of acme", "Service   Integration key"]
    assert shown.splitlines()[-2].split() == ["platform", f"file:{workspace.folder}/pd_platform"]


@pytest.mark.parametrize(
    ("arguments", "reported"),
    [
        (["add", "x"], "integration_key: missing; it is required"),
        (["add", "x", "--key", "env:NO"], "integration_key: the environment variable NO is not"),
        (["add", "x", "--key", "env:PD_CHECKOUT"], None),
        (["add", "x", "--key", CHECKOUT], "--key: do not put a secret on the command line"),
        (["add", "web", "--key", "env:PD_CHECKOUT"], "acme already has a service 'web'; `rotate`"),
        (["rename", "wob", "x"], "the service 'wob' is unknown; did you mean 'web'?"),
        (["rename", "web", "checkout"], "name: 'checkout' is used twice"),
        (["rotate", "wob"], "the service 'wob' is unknown; did you mean 'web'?"),
        (["rotate", "web"], "--key: missing; add it, or run the command at a terminal to be asked"),
        (["rotate", "web", "--done"], "--done: web has only one key; no rotation is in progress"),
        (["rotate", "web", "--done", "--key", "env:X"], "--key: cannot be combined with --done"),
        (["rotate", "web", "--leave"], "--leave: needs --done"),
        (["rotate", "web", "--key", "w" * 32], "--key: do not put a secret on the command line"),
        (["remove", "wob"], "the service 'wob' is unknown; did you mean 'web'?"),
        (["remove", "web"], "--yes: missing; add it, or run the command at a terminal to be asked"),
    ],
)
def test_a_wrong_argument_changes_nothing(
    workspace: Workspace, arguments: list[str], reported: str | None
) -> None:
    code, shown, errors = change(workspace, *arguments)

    if reported is None:  # a shared key is accepted, with a note
        assert (code, shown) == (0, "added x to acme\n")
        assert errors.startswith("note: acme/checkout and acme/x have the same integration key")
        return
    assert (code, shown) == (2, "")
    assert errors.startswith(reported)
    assert len(errors.splitlines()) == 1
    assert [row[1:] for row in state(workspace)] == [["checkout", CHECKOUT], ["web", "w" * 32]]


def test_a_renamed_service_keeps_its_id(workspace: Workspace) -> None:
    assert change(workspace, "rename", "web", "shop") == (0, "renamed web of acme to shop\n", "")
    assert state(workspace)[1][:2] == ["two", "shop"]


def test_the_effect_of_a_change_on_rules_is_shown(workspace: Workspace) -> None:
    code, shown, errors = change(workspace, "rename", "checkout", "shop")
    assert (code, shown) == (0, "renamed checkout of acme to shop\n")
    assert errors == (
        "After this change:\n"
        "  rule 'Pages': Send a notification to PagerDuty account acme and services "
        "shop with default severity\n"
    )

    code, shown, errors = change(workspace, "remove", "shop")

    assert (code, shown) == (2, "")
    after, fault, refusal = errors.splitlines()
    assert (after, refusal) == (
        "After this change:",
        "--yes: missing; add it, or run the command at a terminal to be asked",
    )
    assert fault.startswith("  alerthost.toml, line 12: rule 'Pages': actions[0].services")
    assert change(workspace, "remove", "shop", "--yes")[0] == 0
    assert [row[1] for row in state(workspace)] == ["web"]


def test_a_rename_that_breaks_a_rule_is_confirmed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a provider that keeps no former names."""
    reported = Consequences(("rule 'Pages': broken",), ())
    monkeypatch.setattr(Accounts, "consequences", lambda *_: reported)

    code, shown, errors = change(workspace, "rename", "checkout", "shop")
    assert (code, shown) == (2, "")
    assert errors.startswith("After this change:\n  rule 'Pages': broken\n--yes: missing")
    assert change(workspace, "rename", "checkout", "shop", "--yes")[0] == 0


def test_the_last_service_is_not_removed(workspace: Workspace) -> None:
    assert change(workspace, "remove", "web", "--yes") == (0, "removed web of acme\n", "")
    code, _, errors = change(workspace, "remove", "checkout", "--yes")
    assert (code, errors) == (
        2,
        "at least one service must be left; to remove all, remove the account\n",
    )


def test_a_rotation_sends_with_the_new_key_and_ends(workspace: Workspace) -> None:
    workspace.fake.add_service("checkout", "n" * 32)
    (workspace.folder / "new").write_text("n" * 32)

    rotated = change(workspace, "rotate", "checkout", "--key", "file:new")
    assert rotated[0] == 0
    assert "alerthost services acme rotate checkout --done" in rotated[1]
    assert state(workspace)[0][1:] == ["checkout", "n" * 32, CHECKOUT]
    workspace.alerthost("send", given=line())
    assert [body["routing_key"] for body in workspace.bodies()] == ["n" * 32]

    done = change(workspace, "rotate", "checkout", "--done")
    assert done == (0, "checkout of acme keeps only its newest key\n", "")
    assert state(workspace)[0][1:] == ["checkout", "n" * 32]


# --- open incidents of a removed key ---------------------------------------------------------

KEYS = {CHECKOUT: "old", "n" * 32: "new", "w" * 32: "web"}
HASTE = ("--timeout", "1")


@pytest.fixture
def rotating(workspace: Workspace) -> Workspace:
    """Open incidents with the old key, with the new one, and in another service."""
    rules = [_of_team(RULE, "data"), _of_team(RULE.replace("checkout", "web"), "web")]
    workspace.configure_bare("".join(rules))
    workspace.fake.add_service("checkout", "n" * 32)
    workspace.fake.add_service("web", "w" * 32)
    (workspace.folder / "new").write_text("n" * 32)
    web = line("web", labels={"team": "web"})
    assert workspace.alerthost("send", given=line("old") + web).returncode == 0
    assert change(workspace, "rotate", "checkout", "--key", "file:new")[0] == 0
    assert workspace.alerthost("send", given=line("new")).returncode == 0
    return workspace


def _of_team(rule: str, team: str) -> str:
    return rule.replace('"Pages"\n', f'"Pages of {team}"\nmatch = [\'team="{team}"\']\n')


def resolved(workspace: Workspace) -> list[tuple[str, str]]:
    """Return the key and incident of each resolve on the wire."""
    return [
        (KEYS[body["routing_key"]], body["dedup_key"])
        for body in workspace.bodies()
        if body["event_action"] == "resolve"
    ]


def test_ending_a_rotation_with_open_incidents_needs_a_choice(
    rotating: Workspace,
) -> None:
    run = change(rotating, "rotate", "checkout", "--done")

    assert run[0] == 2
    assert printed_lines(run[1]) == [
        "Open in acme/checkout under the old key",
        "id state severity service incident age summary",
        "1 triggered critical acme/checkout old N s Disk full on db-1",
    ]
    assert run[2] == "incidents are open there: use --resolve to close them first, or --leave\n"
    assert state(rotating)[0][2:] == ["n" * 32, CHECKOUT]


def test_incidents_of_the_old_key_are_closed_with_it(
    rotating: Workspace,
) -> None:
    run = change(rotating, "rotate", "checkout", "--done", "--resolve")

    assert (run[0], run[2]) == (0, "")
    assert printed_lines(run[1])[3:] == [
        "delivered resolve acme/checkout old",
        "checkout of acme keeps only its newest key",
    ]
    assert resolved(rotating) == [("old", "old")]
    assert state(rotating)[0][2:] == ["n" * 32]


def test_incidents_of_the_old_key_may_be_left_open(rotating: Workspace) -> None:
    run = change(rotating, "rotate", "checkout", "--done", "--leave")

    assert (run[0], run[1].splitlines()[-1]) == (0, "checkout of acme keeps only its newest key")
    assert run[2].startswith("note: incidents of the old key cannot be closed from here")
    assert resolved(rotating) == []
    assert state(rotating)[0][2:] == ["n" * 32]


def test_both_keys_are_kept_if_an_incident_stays_open(rotating: Workspace) -> None:
    rotating.fake.misbehave(refusing("no luck"))

    run = change(rotating, "rotate", "checkout", "--done", "--resolve", *HASTE)

    assert run[0] == 1
    assert run[2].splitlines()[-1] == (
        "both keys are kept: incidents are still open in acme/checkout under the old key; try "
        "again, or use --leave"
    )
    assert state(rotating)[0][2:] == ["n" * 32, CHECKOUT]


def test_open_incidents_are_closed_before_a_service_is_removed(rotating: Workspace) -> None:
    failed = change(rotating, "remove", "checkout", "--yes")

    assert failed[0] == 2
    assert printed_lines(failed[1]) == [
        "Open in acme/checkout",
        "id state severity service incident age summary",
        "1 triggered critical acme/checkout old N s Disk full on db-1",
        "3 triggered critical acme/checkout new N s Disk full on db-1",
    ]
    assert len(state(rotating)) == 2

    run = change(rotating, "remove", "checkout", "--yes", "--resolve")

    assert run[0] == 0
    assert run[1].splitlines()[-1] == "removed checkout of acme"
    assert sorted(resolved(rotating)) == [("new", "new"), ("old", "old")]
    assert [row[1] for row in state(rotating)] == ["web"]


def test_a_service_is_kept_if_an_incident_stays_open(rotating: Workspace) -> None:
    rotating.fake.misbehave(refusing("no luck"))

    run = change(rotating, "remove", "web", "--yes", "--resolve", *HASTE)

    assert run[0] == 1
    assert run[2].splitlines()[-1] == (
        "not removed: incidents are still open in acme/web; try again, or use --leave"
    )
    assert len(state(rotating)) == 2


def test_incidents_of_a_disabled_plugin_are_not_orphaned_by_a_key(
    rotating: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trigger, "name", "pagerduty.other")

    run = change(rotating, "rotate", "checkout", "--done")

    assert run == (0, "checkout of acme keeps only its newest key\n", "")


def test_services_added_by_several_processes_are_all_kept(workspace: Workspace) -> None:
    for number in range(4):
        (workspace.folder / f"key{number}").write_text(f"{number}" * 32)

    with ThreadPoolExecutor(4) as pool:
        ran = list(
            pool.map(
                lambda n: workspace.process(
                    *("services", "acme", "add", f"service{n}", "--key", f"file:key{n}")
                ),
                range(4),
            )
        )

    assert [run.returncode for run in ran] == [0] * 4, ran
    names = sorted(row[1] for row in state(workspace))
    assert names == ["checkout", "service0", "service1", "service2", "service3", "web"]


def test_without_the_store_key_services_are_listed_and_kept(workspace: Workspace) -> None:
    (workspace.folder / "alerthost.key").unlink()

    shown = workspace.alerthost("services", "acme")
    assert (shown.returncode, shown.stdout.count("******** (cannot be read)")) == (0, 2)
    code, _, errors = change(workspace, "add", "x", "--key", "env:PD_CHECKOUT")
    assert code == 2
    assert "a secret cannot be sealed: the store's key cannot be read: the file " in errors
    assert workspace.alerthost("explain", given=line()).returncode == 0
    sent = workspace.alerthost("send", given=line())
    assert sent.returncode == 2
    assert sent.stderr.splitlines()[0].startswith(
        "store sqlite:///alerthost.db: installation 'acme': settings.services[0].integration_key: "
        "the store's key cannot be read: the file "
    )


def test_services_without_a_secret_accept_no_key(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    @attrs.frozen(kw_only=True)
    class Row:
        name: str = setting("Name")

    monkeypatch.setattr(ServiceTable, "row", Row)

    code, _, errors = change(workspace, "add", "x", "--key", "env:PD_CHECKOUT")

    assert (code, errors) == (
        2,
        "--key: cannot be used: a service of this provider has no single secret\n",
    )
