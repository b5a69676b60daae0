"""The configuration file: every fault is reported at once, with its location and exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest
from workspace import CHECKOUT, CONFIGURATION, Workspace, line

from alerthost.config.configuration import build
from alerthost.config.document import ConfigFile, ConfigurationError

WRONG = """\
[plugins]
enabled = ["pagerduty"]
colour = "red"

[[installations]]
provider = "pagerdty"
name = "other"

[[installations]]
provider = "pagerduty"
name = "acme"
[installations.settings]
region = "ue"
services = [
  { name = "checkout", integration_key = "env:PD_CHECKOUT" },
  { name = "platform", integration_kay = "file:pd_platform" },
]

[[rules]]
name = "Pages"
match = ['severity=~"error|critical', 'team="data"']
[[rules.actions]]
use = "pagerduty.tigger"
installation = "acme"
services = ["checkout"]
[[rules.actions]]
use = "pagerduty.trigger"
installation = "acme2"
services = []
severity = "bad"
[[rules.actions]]
installation = 3

[[rules]]
name = "Pages"
actions = []

[rulez]
"""


def test_every_fault_is_reported_with_its_location(workspace: Workspace) -> None:
    (workspace.folder / "alerthost.toml").write_text(WRONG, encoding="utf-8")

    run = workspace.alerthost("send", given=line())

    assert (run.returncode, run.stdout) == (2, "")
    reported = [fault.split(": ", 1) for fault in run.stderr.splitlines()]
    assert all(location.startswith("alerthost.toml, line ") for location, _ in reported)
    assert [(int(location.rpartition(" ")[2]), reason) for location, reason in reported] == [
        (38, "rulez: 'rulez' is unknown; did you mean 'rules'?"),
        (3, "plugins.colour: unknown; known are enabled"),
        (36, "rule 'Pages': actions: has 0 entries; needs at least 1"),
        (6, "installation 'other': provider: 'pagerdty' is unknown; did you mean 'pagerduty'?"),
        (13, "installation 'acme': settings.region: 'ue' is unknown; known are us, eu"),
        (16, "installation 'acme': settings.services[1].integration_key: missing; it is required"),
        (
            16,
            "installation 'acme': settings.services[1].integration_kay: unknown "
            "(did you mean 'integration_key'?); known are name, integration_key, id, "
            "pagerduty_id, pagerduty_name, former_names",
        ),
        (
            21,
            "rule 'Pages': match[0]: expected a closing double quote, found "
            '"error|critical; within quotes, write \\" for a quote',
        ),
        (
            23,
            "rule 'Pages': actions[0].use: 'pagerduty.tigger' is unknown; "
            "did you mean 'pagerduty.trigger'?",
        ),
        (28, "rule 'Pages': actions[1].installation: 'acme2' is unknown; did you mean 'acme'?"),
        (29, "rule 'Pages': actions[1].services: has 0 entries; needs at least 1"),
        (
            30,
            "rule 'Pages': actions[1].severity: 'bad' is unknown; "
            "known are default, critical, error, warning, info, or a template",
        ),
        (31, "rule 'Pages': actions[2].use: missing; it is required"),
        (32, "rule 'Pages': actions[2].installation: must be text"),
    ]
    assert workspace.fake.requests == ()


def test_unknown_service_is_rejected(workspace: Workspace) -> None:
    workspace.configure(('services = ["checkout", "platform"]', 'services = ["chekout"]'))

    run = workspace.alerthost("explain", given=line())

    assert run.returncode == 2
    assert run.stderr.endswith(
        "rule 'Pages': actions[0].services[0]: "
        'account acme has no service "chekout"; did you mean "checkout"?\n'
    )


@pytest.mark.parametrize(
    ("old", "new", "reported"),
    [
        ('["pagerduty"]', '["pagerduty", "nope"]', "plugin 'nope' is not installed; installed are"),
        ('["pagerduty"]', "[]", "no enabled plugin offers the provider 'pagerduty'; installed are"),
        ('name = "acme"', 'name = " "', "installation ' ': name: is blank"),
        ('name = "acme"\n', "", "installation 1: name: missing; it is required"),
        (
            "[[rules]]\n",
            "[[rules]]\nname = 'Pages'\nactions = [{}]\n[[rules]]\n",
            "line 15: rule 'Pages': name: 'Pages' is defined twice",
        ),
        ("[[rules]]", "[[rule]]", "line 14: rule: 'rule' is unknown; did you mean 'rules'?"),
        ('name = "platform"', 'name = "checkout"', "services[0].name: 'checkout' is used twice"),
        ('"Pages"', "7", "rule 7: name: must be text, not the number 7"),
        ('"http://127', '"http://10.127', "is not encrypted; use https://, or a loopback address"),
        ('installation = "acme"', 'installation = ""', "actions[0].installation: must be text"),
        ('"pagerduty.trigger"', "3", "actions[0].use: must be text"),
        ("[plugins]\nenabled", "plugins = 3\n#", "plugins: must be a table, not the number 3"),
    ],
)
def test_faults_are_reported_in_plain_words(
    workspace: Workspace, old: str, new: str, reported: str
) -> None:
    workspace.configure((old, new))

    run = workspace.alerthost("explain", given=line())

    assert run.returncode == 2
    assert reported in run.stderr
    assert "Traceback" not in run.stderr


def test_offers_of_a_failed_plugin_are_not_unknown(workspace: Workspace) -> None:
    workspace.configure(('["pagerduty"]', '["pagerdutty"]'))

    run = workspace.alerthost("explain", given=line())

    assert run.stderr == (
        "alerthost.toml, line 2: plugins.enabled: "
        "plugin 'pagerdutty' is not installed; did you mean 'pagerduty'?\n"
    )


def test_number_as_name_of_a_plugin_is_one_fault(workspace: Workspace) -> None:
    """The offers of that plugin are not reported as unknown."""
    workspace.configure(('enabled = ["pagerduty"]', "enabled = [1]"))
    run = workspace.alerthost("check")
    reported = "alerthost.toml, line 2: plugins.enabled[0]: must be text, not the number 1\n"
    assert (run.returncode, run.stderr) == (2, reported)


def test_text_as_list_of_plugins_is_one_fault(workspace: Workspace) -> None:
    workspace.configure(('enabled = ["pagerduty"]', 'enabled = "pagerduty"'))

    reported = (
        "alerthost.toml, line 2: plugins.enabled: must be a list, not text; "
        'use enabled = ["pagerduty"]\n'
    )
    for command in ("explain", "plugins"):
        run = workspace.alerthost(command, given=line())
        assert (run.returncode, run.stderr) == (2, reported)


@pytest.mark.parametrize(
    "key", ["integration_key = 7", 'integration_key = ["env:PD_CHECKOUT", 7]', ""]
)
def test_faulty_key_hides_no_unknown_service_of_a_rule(workspace: Workspace, key: str) -> None:
    wrong = f", {key}" if key else ""
    workspace.configure(
        (', integration_key = "env:PD_CHECKOUT"', wrong),
        ('services = ["checkout"', 'services = ["chekout"'),
    )

    run = workspace.alerthost("explain", given=line())

    assert run.returncode == 2
    first, second = run.stderr.splitlines()
    assert "services[0].integration_key" in first
    assert "actions[0].services[0]" in second
    assert "chekout" in second
    assert 'did you mean "checkout"?' in second


def test_faulty_name_of_a_service_is_reported(workspace: Workspace) -> None:
    workspace.configure(('name = "checkout"', "name = 7"))

    run = workspace.alerthost("explain", given=line())

    assert run.returncode == 2
    assert "services[0].name" in run.stderr


def test_table_in_place_of_an_array_is_one_fault(workspace: Workspace) -> None:
    workspace.configure(("[[rules]]\n", "[rules]\n"), ("[[rules.actions]]", "[rules.actions]"))

    run = workspace.alerthost("explain", given=line())

    assert run.returncode == 2
    assert run.stderr == "alerthost.toml, line 14: rules: must be an array of tables: [[rules]]\n"


def test_installation_of_another_provider_is_rejected(workspace: Workspace) -> None:
    document = {
        "plugins": {"enabled": ["pagerduty", "webhook"]},
        "installations": [
            {"provider": "webhook", "name": "hook", "settings": {"url": "http://127.0.0.1:1/"}}
        ],
        "rules": [
            {
                "name": "Pages",
                "actions": [
                    {"use": "pagerduty.trigger", "installation": "hook", "services": ["a"]}
                ],
            }
        ],
    }

    with pytest.raises(ConfigurationError) as caught:
        build(ConfigFile("alerthost.toml", "", document))

    assert [str(fault) for fault in caught.value.faults] == [
        "alerthost.toml: rule 'Pages': actions[0].installation: "
        "is a webhook installation; pagerduty.trigger needs pagerduty"
    ]


def test_missing_file_is_reported_with_the_remedy(tmp_path: Path, workspace: Workspace) -> None:
    (workspace.folder / "alerthost.toml").unlink()

    run = workspace.alerthost("send", given=line())

    assert (run.returncode, run.stderr) == (
        2,
        "alerthost.toml: no such file; create one with `alerthost init`, or use --config\n",
    )


def test_entry_that_is_not_a_table_is_located_by_its_number(workspace: Workspace) -> None:
    (workspace.folder / "alerthost.toml").write_text("rules = [3]\n", encoding="utf-8")

    run = workspace.alerthost("explain", given=line())

    assert run.stderr == "alerthost.toml, line 1: rule 1: must be a table, not the number 3\n"


def test_folder_is_not_a_configuration_file(workspace: Workspace) -> None:
    run = workspace.alerthost("explain", "--config", ".", given=line())

    assert (run.returncode, run.stderr) == (2, ".: cannot be read: Is a directory\n")


@pytest.mark.parametrize(
    ("content", "reported"),
    [(b"[plugins\n", "is not valid TOML: "), (b"\xff\xfe", "is not UTF-8 text: byte 0 is invalid")],
)
def test_invalid_toml_is_located(workspace: Workspace, content: bytes, reported: str) -> None:
    (workspace.folder / "alerthost.toml").write_bytes(content)

    run = workspace.alerthost("explain", given=line())

    assert run.returncode == 2
    assert run.stderr.startswith(f"alerthost.toml: {reported}")


def test_file_without_rules_is_rejected(workspace: Workspace) -> None:
    (workspace.folder / "alerthost.toml").write_text("", encoding="utf-8")

    run = workspace.alerthost("send", given=line())

    assert (run.returncode, run.stderr) == (
        2,
        "alerthost.toml: rules: none are defined, so no alert would page anyone\n",
    )


def test_missing_secret_is_reported_with_the_other_faults(workspace: Workspace) -> None:
    workspace.configure(('services = ["checkout", "platform"]', 'services = ["nope"]'))

    run = workspace.alerthost("send", given=line(), env={"PD_CHECKOUT": None})

    assert run.returncode == 2
    assert 'has no service "nope"' in run.stderr
    assert "the environment variable PD_CHECKOUT is not set" in run.stderr


def test_faulty_key_hides_no_other_fault_of_its_table(workspace: Workspace) -> None:
    workspace.configure(
        ('name = "Pages"\n', 'name = "Pages"\ncolour = "red"\n'),
        ("""['severity=~"error|critical"', 'team="data"']""", "['severity~x', 5]"),
        ('name = "acme"\n', 'name = "acme"\nextra = 1\n'),
        ('services = ["checkout", "platform"]', 'services = ["nope"]'),
    )

    run = workspace.alerthost("explain", given=line())

    reported = [fault.split(": ", 1)[1] for fault in run.stderr.splitlines()]
    assert [fault.split(";")[0][:60] for fault in reported] == [
        "installation 'acme': extra: unknown",
        "rule 'Pages': colour: unknown",
        "rule 'Pages': match[0]: expected =, !=, =~ or !~ after sever",
        "rule 'Pages': match[1]: must be text, not the number 5",
        "rule 'Pages': actions[0].services[0]: account acme has no se",
    ]


SHOP = '{ name = "shop", integration_key = "env:PD_CHECKOUT" }'


@pytest.mark.parametrize(
    ("wrong", "location"),
    [
        (SHOP.replace("}", ", color = 1 }"), "settings.services[2].color: unknown"),
        (SHOP.replace("}", ", former_names = 7 }"), "settings.services[2].former_names: must be"),
        (SHOP.replace("shop", "checkout"), "settings.services[2].name: "),
        (SHOP.replace("env:", "ENV:"), "settings.services[2].integration_key: "),
        (SHOP.replace("}", ", id = 3, x = 1 }"), "settings.services[2].x: unknown"),
    ],
)
def test_faulty_service_hides_no_unknown_service(
    workspace: Workspace, wrong: str, location: str
) -> None:
    workspace.configure(
        ('/pd_platform" },\n', f'/pd_platform" }},\n  {wrong},\n'),
        ('services = ["checkout", "platform"]', 'services = ["checkout", "nope", "shop"]'),
    )

    run = workspace.alerthost("explain", given=line())

    assert location in run.stderr
    assert 'has no service "nope"' in run.stderr
    is_twice = "checkout" in wrong
    assert ('has no service "shop"' in run.stderr) is is_twice, "it is there, though faulty"


def test_service_with_a_misspelt_name_is_not_unknown_as_well(workspace: Workspace) -> None:
    """The rule is right, so one mistake is one fault."""
    wrong = SHOP.replace("name", "nmae")
    workspace.configure(
        ('/pd_platform" },\n', f'/pd_platform" }},\n  {wrong},\n'),
        ('services = ["checkout", "platform"]', 'services = ["checkout", "shop"]'),
    )

    run = workspace.alerthost("explain", given=line())

    assert "did you mean 'name'?" in run.stderr
    assert "has no service" not in run.stderr


def test_byte_order_mark_is_ignored(workspace: Workspace) -> None:
    file = workspace.folder / "alerthost.toml"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())

    assert workspace.alerthost("explain", given=line()).returncode == 0


def test_url_with_the_path_of_the_api_is_reported_with_the_remedy(workspace: Workspace) -> None:
    workspace.configure((f'"{workspace.fake.url}"', '"https://events.pagerduty.com/v2/enqueue"'))

    run = workspace.alerthost("explain", given=line())

    assert "use 'https://events.pagerduty.com'" in run.stderr


def test_key_in_place_of_a_reference_is_masked(workspace: Workspace) -> None:
    workspace.configure(("env:PD_CHECKOUT", f"env:{CHECKOUT}"))

    sent = workspace.alerthost("send", given=line())
    explained = workspace.alerthost("explain", given=line())

    assert "the environment variable ******** is not set" in sent.stderr
    assert CHECKOUT not in sent.stdout + sent.stderr + explained.stdout + explained.stderr


def test_configuration_of_these_tests_is_that_of_the_readme() -> None:
    """All these tests use the configuration of the README, except for its addresses."""
    readme = Path(__file__).parents[2] / "README.md"
    shown = [text.strip() for text in CONFIGURATION.splitlines() if "base_url" not in text]
    reported = readme.read_text(encoding="utf-8")
    for text in shown:
        if "integration_key" not in text and "match" not in text:
            assert text in reported
