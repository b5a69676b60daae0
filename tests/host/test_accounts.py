"""Accounts are connected by their settings, listed and disconnected; secrets are sealed."""

from __future__ import annotations

import json
import sqlite3

import pytest
from workspace import CHECKOUT, CONFIGURATION, PLATFORM, STORE_KEY, Workspace, errors_of, line

STORE = "store sqlite:///alerthost.db"
RULE = """
[[rules]]
name = "Pages"
[[rules.actions]]
use = "pagerduty.trigger"
installation = "acme"
services = ["checkout"]
"""


@pytest.fixture(autouse=True)
def bare(workspace: Workspace) -> None:
    workspace.configure_bare()


def connect(workspace: Workspace, name: str = "acme", *more: str) -> None:
    arguments = ("connect", "pagerduty", name, "--set", f"base_url={workspace.fake.url}")
    run = workspace.alerthost(*arguments, "--service", "checkout=env:PD_CHECKOUT", *more)
    assert run.returncode == 0, run


def raw(workspace: Workspace) -> bytes:
    """Return all bytes of the store on the disk."""
    return b"".join(path.read_bytes() for path in workspace.folder.glob("alerthost.db*"))


def test_an_account_from_the_command_line_is_stored_and_paged(workspace: Workspace) -> None:
    workspace.configure_bare(RULE)

    run = workspace.alerthost(
        *("connect", "pagerduty", "acme", "--set", f"base_url={workspace.fake.url}"),
        *("--service", "checkout=env:PD_CHECKOUT", "--service", "platform=file:pd_platform"),
    )

    reported = f"connected acme: checkout, platform; stored in {STORE}\n"
    assert (run.returncode, run.stdout, run.stderr) == (0, reported, "")
    sent = workspace.alerthost("send", given=line())
    assert (sent.returncode, sent.stderr) == (0, "")
    assert [body["routing_key"] for body in workspace.bodies()] == [CHECKOUT]


@pytest.mark.parametrize("form", ["toml", "json"])
def test_secrets_from_a_file_are_sealed_and_shown_nowhere(workspace: Workspace, form: str) -> None:
    services = [{"name": "checkout", "integration_key": CHECKOUT}]
    text = json.dumps({"services": services, "base_url": workspace.fake.url})
    if form == "toml":
        text = (
            f'services = [{{ name = "checkout", integration_key = "{CHECKOUT}" }}]\n'
            f'base_url = "{workspace.fake.url}"\n'
        )
    workspace.configure_bare(RULE)

    runs = [
        workspace.alerthost("connect", "pagerduty", "acme", "--settings", "-", given=text),
        workspace.alerthost("installations"),
        workspace.alerthost("services", "acme"),
        workspace.alerthost("explain", given=line()),
        workspace.alerthost("send", given=line()),
    ]

    assert [run.returncode for run in runs] == [0] * 5
    assert [body["routing_key"] for body in workspace.bodies()] == [CHECKOUT]
    assert CHECKOUT not in "".join(run.stdout + run.stderr for run in runs)
    assert "********" in runs[2].stdout
    assert CHECKOUT.encode() not in raw(workspace)
    assert STORE_KEY.encode() not in raw(workspace)


def test_a_plain_secret_is_not_stored_without_a_key(workspace: Workspace) -> None:
    (workspace.folder / "alerthost.toml").write_text('[plugins]\nenabled = ["pagerduty"]\n')
    given = json.dumps({"services": [{"name": "checkout", "integration_key": CHECKOUT}]})

    run = workspace.alerthost("connect", "pagerduty", "acme", "--settings", "-", given=given)

    [reported] = errors_of(run)
    assert reported.startswith(
        "services[0].integration_key: secrets are stored only sealed: create a"
    )
    assert "alerthost new-key" in reported
    assert CHECKOUT not in reported
    assert not (workspace.folder / "alerthost.db").exists()
    connect(workspace)  # by reference it needs none


def test_missing_settings_are_errors_without_a_terminal(workspace: Workspace) -> None:
    nameless = "NAME: missing; give the name that rules use for the account"
    lacking = [
        "services: missing; it is required",
        "add missing settings with --set NAME=VALUE, --service NAME=REFERENCE or --settings FILE, "
        "or run the command at a terminal to be asked",
    ]
    service = ("--service", "checkout=env:PD_CHECKOUT")
    assert errors_of(workspace.alerthost("connect", "pagerduty")) == [nameless, *lacking]
    assert errors_of(workspace.alerthost("connect", "pagerduty", *service)) == [nameless]
    assert errors_of(workspace.alerthost("connect", "pagerduty", "acme")) == lacking
    assert not (workspace.folder / "alerthost.db").exists()


def test_every_wrong_option_is_an_error_without_its_secret(workspace: Workspace) -> None:
    run = workspace.alerthost(
        *("connect", "pagerduty", "acme", "--set", "foo=3", "--set", CHECKOUT),
        *("--set", "services=x", "--service", f"checkout={CHECKOUT}", "--service", CHECKOUT),
    )

    reference = "use a reference: env:NAME, file:PATH or keyring:SERVICE/NAME"
    assert errors_of(run) == [
        "--set: 'foo' is unknown; known are base_url, dedup_prefix, network, rate_limit, region, "
        "removed_services, services, subdomain",
        "--set: expected NAME=VALUE",
        "--set services: is a table or a list of tables; use --settings",
        "--service checkout: do not put a secret on the command line: the process list shows it; "
        + reference,
        "--service: expected NAME=REFERENCE; references are "
        "env:NAME, file:PATH or keyring:SERVICE/NAME",
    ]


@pytest.mark.parametrize(
    ("arguments", "given", "reported"),
    [
        (["--set", "region=uk"], "", "region: 'uk' is unknown; known are us, eu"),
        (
            ["--service", "checkout=env:PD_NOPE"],
            "",
            "services[0].integration_key: the environment variable PD_NOPE is not set",
        ),
        (["--settings", "-"], "\xff", "--settings: is not UTF-8 text"),
        (["--settings", "-"], "{3}", "--settings: is neither valid TOML nor valid JSON: line 1"),
        (["--settings", "-"], "a = = 3", "--settings: is neither valid TOML nor valid JSON"),
        (["--install-flow", "--port", "70000"], "", "70000 is not in the range 0<=x<=65535"),
        (["--install-flow"], "", "app_id: missing; it is required"),
        (["--install-flow", "--app-id", "x y"], "", "app_id: 'x y' is not an app id"),
    ],
)
def test_a_wrong_option_stores_nothing(
    workspace: Workspace, arguments: list[str], given: str, reported: str
) -> None:
    run = workspace.alerthost(
        "connect", "pagerduty", "acme", *arguments, given=given.encode("latin-1")
    )

    assert reported in "\n".join(errors_of(run))
    assert "Traceback" not in run.stderr
    assert not (workspace.folder / "alerthost.db").exists()


def test_the_name_of_an_account_is_unique(workspace: Workspace) -> None:
    connect(workspace)
    declared = CONFIGURATION.format(url=workspace.fake.url, folder=workspace.folder)
    workspace.configure_bare(declared.partition("\n\n")[2].replace('"acme"', '"labs"'))

    for name, place in (("acme", STORE), ("labs", "alerthost.toml, line 6")):
        run = workspace.alerthost("connect", "pagerduty", name, "--service", "a=env:PD_CHECKOUT")
        assert errors_of(run) == [
            f"account '{name}' already exists ({place}); use another name, or "
            f"see `alerthost services {name}` and `alerthost disconnect {name}`"
        ]
    assert errors_of(workspace.alerthost("connect", "pagerduty", " ")) == ["the name is blank"]


def test_the_plugin_of_a_provider_must_be_enabled(workspace: Workspace) -> None:
    run = workspace.alerthost("connect", "pagerdutty", "acme")
    assert errors_of(run) == ["'pagerdutty' is unknown; did you mean 'pagerduty'?"]
    (workspace.folder / "alerthost.toml").write_text("")
    run = workspace.alerthost("connect", "pagerduty", "acme")
    assert errors_of(run)[0].startswith(
        "no enabled plugin offers the provider 'pagerduty'; install"
    )
    (workspace.folder / "alerthost.toml").write_text('[plugins]\nenabled = ["nope"]\n')
    assert (
        "plugins.enabled: plugin 'nope' is not"
        in errors_of(workspace.alerthost("services", "a"))[0]
    )


def test_a_provider_without_services_is_set_by_name(workspace: Workspace) -> None:
    text = '[plugins]\nenabled = ["pagerduty", "webhook"]\n'
    (workspace.folder / "alerthost.toml").write_text(text)
    given = {"HOOK": "http://127.0.0.1:1/"}

    run = workspace.alerthost("connect", "webhook", "hook", "--set", "url=env:HOOK", env=given)
    assert (run.returncode, run.stdout) == (0, f"connected hook: hook; stored in {STORE}\n")

    assert errors_of(workspace.alerthost("services", "hook")) == [
        "a webhook account has no services to list or change"
    ]
    run = workspace.alerthost("connect", "webhook", "hook2", "--service", "a=env:HOOK")
    assert errors_of(run) == ["--service: is not supported by this provider; its settings are url"]
    run = workspace.alerthost("connect", "webhook", "hook2", "--install-flow")
    assert errors_of(run) == ["--install-flow: webhook has no install flow; omit the option"]
    run = workspace.alerthost("connect", "webhook", "hook2", "--discover")
    assert errors_of(run) == ["--discover: webhook has no discovery; omit the option"]


def test_accounts_of_the_file_and_of_the_store_are_listed(workspace: Workspace) -> None:
    connect(workspace)
    labs = CONFIGURATION.format(url=workspace.fake.url, folder=workspace.folder)
    workspace.configure_bare(labs.partition("\n\n")[2].replace('"acme"', '"labs"'))

    run = workspace.alerthost("installations")

    assert run.returncode == 0
    assert [text.split() for text in run.stdout.splitlines()[2:-1]] == [
        ["labs", "pagerduty", "checkout,", "platform", "alerthost.toml,", "line", "6"],
        ["acme", "pagerduty", "checkout", *STORE.split()],
    ]
    assert run.stderr == (
        "note: labs/checkout and acme/checkout have the same integration key: a problem that "
        "is sent to both is one incident at PagerDuty, and the first resolve closes it\n"
    )
    for command in (["services", "acme"], ["services", "labs"], ["send"], ["check"]):
        assert workspace.alerthost(*command, given=line()).stderr == run.stderr


def test_accounts_with_errors_are_listed_with_their_locations(workspace: Workspace) -> None:
    connect(workspace)
    text = (
        '\n[[installations]]\nname = "labs"\nprovider = "pagerduty"\nsettings = { region = "uk" }\n'
    )
    workspace.configure_bare(
        text + '[[installations]]\nname = 3\n[[installations]]\nname = "none"\n'
    )
    with sqlite3.connect(workspace.folder / "alerthost.db") as database:
        database.execute("""UPDATE installations SET settings = '{"services": []}'""")

    run = workspace.alerthost("installations")

    assert run.returncode == 2
    assert [text.split()[2] for text in run.stdout.splitlines()[2:-1]] == ["-", "-"]
    assert run.stderr.splitlines() == [
        "alerthost.toml, line 7: installation 'labs': settings.region: "
        "'uk' is unknown; known are us, eu",
        "alerthost.toml, line 7: installation 'labs': settings.services: missing; it is required",
        f"{STORE}: installation 'acme': settings.services: has 0 entries; needs at least 1",
    ]
    assert errors_of(workspace.alerthost("services", "acme")) == run.stderr.splitlines()[-1:]


def test_an_account_is_disconnected(workspace: Workspace) -> None:
    connect(workspace)

    assert errors_of(workspace.alerthost("disconnect", "acme")) == [
        "--yes: missing; add it, or run the command at a terminal to be asked"
    ]
    run = workspace.alerthost("disconnect", "acme", "--yes")

    assert (run.returncode, run.stdout, run.stderr) == (0, "disconnected acme\n", "")
    assert errors_of(workspace.alerthost("disconnect", "acme")) == [
        "the account 'acme' is unknown; none is known"
    ]


def test_disconnecting_an_account_that_rules_name_needs_yes(workspace: Workspace) -> None:
    workspace.configure_bare(RULE)
    connect(workspace)

    run = workspace.alerthost("disconnect", "acme")

    assert errors_of(run) == [
        "After this change:",
        "  alerthost.toml, line 11: rule 'Pages': actions[0].installation: "
        "'acme' is unknown; none is known",
        "rules name acme: change them first, or use --yes",
    ]
    assert workspace.alerthost("disconnect", "acme", "--yes").returncode == 0


def test_an_account_of_the_file_cannot_be_changed_by_a_command(workspace: Workspace) -> None:
    workspace.configure()

    for command in (["disconnect", "acme"], ["services", "acme", "remove", "checkout"]):
        assert errors_of(workspace.alerthost(*command)) == [
            "the account 'acme' is declared in alerthost.toml, line 4; edit it there"
        ]


def test_a_new_key_is_printed_or_written_to_a_private_file(workspace: Workspace) -> None:
    first, second = (workspace.alerthost("new-key").stdout for _ in range(2))
    assert first != second
    (workspace.folder / "alerthost.key").unlink()

    run = workspace.alerthost("new-key", "--write", "alerthost.key")

    path = workspace.folder / "alerthost.key"
    key = path.read_text()
    assert (run.returncode, path.stat().st_mode & 0o777) == (0, 0o600)
    assert len(key) == len(first) == 45
    assert key.strip() not in run.stdout
    assert '[store]\nkey = "file:alerthost.key"\n' in run.stdout
    given = json.dumps({"services": [{"name": "checkout", "integration_key": PLATFORM}]})
    workspace.alerthost("connect", "pagerduty", "acme", "--settings", "-", given=given)
    assert "********" in workspace.alerthost("services", "acme").stdout
    assert errors_of(workspace.alerthost("new-key", "--write", "alerthost.key")) == [
        "alerthost.key: already exists; secrets sealed with its key would be lost"
    ]
    assert errors_of(workspace.alerthost("new-key", "--write", "no/alerthost.key")) == [
        "no/alerthost.key: cannot be written: No such file or directory"
    ]
    assert path.read_text() == key


def test_a_wrong_setting_is_not_reported_as_missing(workspace: Workspace) -> None:
    arguments = ("--set", "base_url=http://evil.example", "--service", "a=env:PD_CHECKOUT")

    assert errors_of(workspace.alerthost("connect", "pagerduty", "acme", *arguments)) == [
        "base_url: 'http://evil.example' is not encrypted; use https://, or a loopback address"
    ]


@pytest.mark.parametrize("way", ["--discover", "--install-flow"])
def test_connecting_a_known_name_again_is_an_error_with_the_remedy(
    workspace: Workspace, way: str
) -> None:
    connect(workspace)

    (reported,) = errors_of(workspace.alerthost("connect", "pagerduty", "acme", way))

    assert reported.startswith("account 'acme' already exists")
    assert reported.endswith("; to connect it again, omit the name")


def test_an_account_of_the_file_and_one_of_the_store_may_not_share_a_name(
    workspace: Workspace,
) -> None:
    connect(workspace)
    workspace.configure(('services = ["checkout", "platform"]', 'services = ["nope"]'))

    run = workspace.alerthost("installations")

    reason = "the name 'acme' is used twice; rename or remove one"
    assert run.returncode == 2
    assert run.stderr.splitlines()[-2:] == [
        f"alerthost.toml, line 4: {reason}",
        f"{STORE}: {reason}",
    ]


def test_unknown_and_wrong_settings_are_reported_together(workspace: Workspace) -> None:
    arguments = ("--set", "regio=us", "--set", "region=mars", "--service", "a")

    assert errors_of(workspace.alerthost("connect", "pagerduty", "acme", *arguments)) == [
        "--set: 'regio' is unknown; did you mean 'region'?",
        "--service: expected NAME=REFERENCE; references are env:NAME, file:PATH or "
        "keyring:SERVICE/NAME",
        "region: 'mars' is unknown; known are us, eu",
    ]
