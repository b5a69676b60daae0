"""The install flow without a network: addresses, invalid answers, merging, secrecy."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from hostspec import SecretUnavailableError, SettingsError, structure, to_json
from hostspec.connect import InstallError, InstallProblem, Skipped
from hostspec.secret import LiteralSecretError
from pagerduty_plugin.installation.install_flow import PagerDutyInstallFlow
from pagerduty_plugin.provider import PagerDuty
from pagerduty_plugin.settings import InstallFlowSettings

from .conftest import CALLBACK, NOW, Connector, config, entry, key

# PagerDuty's address


@pytest.mark.parametrize(
    ("settings", "page"),
    [
        ({}, "https://app.pagerduty.com/install/integration"),
        ({"account": "Acme-1"}, "https://acme-1.pagerduty.com/install/integration"),
        ({"region": "eu"}, "https://app.eu.pagerduty.com/install/integration"),
        (
            {"region": "eu", "account": "acme"},
            "https://acme.eu.pagerduty.com/install/integration",
        ),
        ({"install_url": "http://127.0.0.1:1/"}, "http://127.0.0.1:1/install/integration"),
    ],
)
def test_the_browser_is_sent_to_pagerduty(settings: dict[str, Any], page: str) -> None:
    flow = PagerDuty().install_flow()
    callback = f"{CALLBACK}?tenant=a%26b&x="
    asked = structure(InstallFlowSettings, {"app_id": "PABC123", **settings})
    begun = flow.begin(callback, asked, now=NOW, state="s/t?&")
    address, _, query = begun.url.partition("?")
    assert address == page
    redirect = parse_qs(query)["redirect_url"][0]
    assert parse_qs(query, strict_parsing=True) == {
        "app_id": ["PABC123"],
        "redirect_url": [redirect],
        "version": ["2"],
    }
    assert redirect == f"{callback}&state=s%2Ft%3F%26"
    assert parse_qs(urlsplit(redirect).query, keep_blank_values=True) == {
        "tenant": ["a&b"],
        "x": [""],
        "state": ["s/t?&"],
    }


@pytest.mark.parametrize(
    ("given", "faults"),
    [
        ({}, ["app_id: missing; it is required"]),
        ({"app_id": "P A"}, ["app_id: 'P A' is not an app id"]),
        ({"app_id": ""}, ["app_id: '' is not an app id"]),
        *(
            (
                {"app_id": "PA", "account": account},
                [f"account: {account!r} is not a valid"],
            )
            for account in ("a.b", "-a", "a-", "a/b", "a@b", "a" * 64, " ", "ä", "a\n", "a:1")
        ),
        ({"app_id": "PA", "region": "ap"}, ["region: 'ap' is unknown"]),
        (
            {"app_id": "PA", "install_url": "http://pages.example"},
            ["install_url: 'http://pages.example' is not encrypted"],
        ),
        (
            {"app_id": "PA", "install_url": "pages"},
            ["install_url: 'pages' is not a base URL; use one like 'https://app.pagerduty.com'"],
        ),
        (
            {"app_id": "PA", "install_url": "https://me:secret@pages.example"},
            ["install_url: contains a user name or password (an @); PagerDuty takes none"],
        ),
        (
            {"app_id": "PA", "install_url": "https://pages.example", "account": "acme"},
            ["account: cannot be combined with install_url"],
        ),
    ],
)
def test_invalid_install_settings_are_rejected(given: dict[str, Any], faults: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        structure(InstallFlowSettings, given)
    reported = [str(fault) for fault in caught.value.faults]
    assert len(reported) == len(faults)
    assert all(map(str.startswith, reported, faults)), reported


@pytest.mark.parametrize("account", ["a", "a1", "1a", "a-b", "A--B", "a" * 63])
def test_an_account_is_a_dns_label(account: str) -> None:
    structure(InstallFlowSettings, {"app_id": "PA", "account": account})


# invalid callbacks

LEAFLESS = "[" * 200_000


@pytest.mark.parametrize(
    ("parameters", "problem", "reason"),
    [
        ({}, "missing_answer", "sent no configuration, perhaps because it was cancelled there"),
        ({"config": ""}, "empty_answer", "sent an empty configuration"),
        ({"config": " \n"}, "empty_answer", "sent an empty configuration"),
        ({"config": "{"}, "unreadable_answer", "is not JSON"),
        ({"config": f"{key(1)}"}, "unreadable_answer", "is not JSON"),
        ({"config": LEAFLESS}, "unreadable_answer", "is not JSON"),
        *(
            ({"config": text}, "malformed_answer", "is not a JSON object")
            for text in ("null", "[]", "1", '"a"', "true", f'["{key(1)}"]')
        ),
        ({"config": "{}"}, "nothing_usable", "no integration key; pick at least one service"),
        ({"config": config()}, "nothing_usable", "no integration key; pick at least one"),
        (
            {"config": json.dumps({"account": [], "integration_keys": {"a": key(1)}})},
            "nothing_usable",
            "no integration key; pick at least one",
        ),
        (
            {"config": config(entry(1, "Ops", type="team_rule_set"), 7, {"name": 3})},
            "nothing_usable",
            "no usable integration key: Ops (team_rule_set): only a service can be "
            "paged; unnamed (without type): it is not an object; unnamed (without type): only a "
            "service can be paged",
        ),
        (
            {"config": config({**entry(1, "a"), "integration_key": key(1)[:20]})},
            "nothing_usable",
            "a (service): its key is not an integration key: expected 32 letters and digits, "
            "got 20 characters, as a REST API key has",
        ),
        (
            {"config": config({**entry(1, "a"), "integration_key": None})},
            "nothing_usable",
            "got 0 characters",
        ),
        (
            {"config": config({**entry(1, "a"), "integration_key": "file:/etc/hostname"})},
            "nothing_usable",
            "got 18 characters",
        ),
    ],
)
def test_each_invalid_answer_has_its_problem(
    parameters: dict[str, str], problem: str, reason: str
) -> None:
    connector = Connector()
    with pytest.raises(InstallError) as caught:
        connector.finish(parameters)
    assert caught.value.problem == InstallProblem(problem)
    assert reason in caught.value.reason
    assert caught.value.return_url == "https://alerts.example/installations"
    assert connector.installations == {}


def test_a_forged_callback_changes_nothing() -> None:
    connector = Connector()
    for parameters in ({"state": "forged"}, {"state": ""}):
        with pytest.raises(InstallError) as caught:
            connector.finish({"config": config(entry(1, "a")), **parameters})
        assert caught.value.problem is InstallProblem.WRONG_STATE


# valid callbacks


def test_services_of_an_account_become_an_installation() -> None:
    connector = Connector()
    connected = connector.connect(
        entry(1, "Checkout", id="PA"),
        entry(2, "Ops rules", id="PR", type="team_rule_set"),
        entry(3, "Platform", id="PB"),
        entry(4, "Later", type="global_event_rules"),
        region="eu",
        base_url="http://127.0.0.1:9",
    )
    installation = connected.installation
    assert (installation.provider, installation.name) == ("pagerduty", "Acme Inc")
    settings = installation.settings
    assert (settings.subdomain, settings.region) == ("acme", "eu")
    assert settings.events_url == "http://127.0.0.1:9"
    assert connector.table() == [
        ("service-1", "Checkout", (key(1),)),
        ("service-2", "Platform", (key(3),)),
    ]
    assert [each.pagerduty_id for each in settings.services] == ["PA", "PB"]
    assert connected.skipped == (
        Skipped("team_rule_set", "Ops rules", "only a service can be paged"),
        Skipped("global_event_rules", "Later", "only a service can be paged"),
    )
    assert (connected.again, connected.notes) == (False, ())
    assert connected.return_url == "https://alerts.example/installations"
    provider = PagerDuty()
    assert [(each.id, each.name) for each in provider.destinations(installation)] == [
        ("service-1", "Checkout"),
        ("service-2", "Platform"),
    ]
    assert provider.check(installation) == []
    assert provider.installation("Acme Inc", settings) == installation


def test_new_services_get_random_ids() -> None:
    pending = Connector().pending()
    parameters = {"state": "the-state", "config": config(entry(1, "a"), entry(2, "b"))}
    connected = [PagerDutyInstallFlow().finish(parameters, pending, now=NOW) for _ in range(2)]
    ids = {service.id for each in connected for service in each.installation.settings.services}
    assert len(ids) == 4
    assert {len(each) for each in ids} == {32}


@pytest.mark.parametrize(
    ("account", "name"),
    [
        ({"subdomain": "acme", "name": "Acme"}, "Acme"),
        ({"subdomain": "acme", "Name": "Acme"}, "Acme"),
        ({"subdomain": "acme", "name": "Acme", "Name": "Other"}, "Acme"),
        ({"subdomain": "acme", "name": " "}, "acme"),
        ({"subdomain": "Acme"}, "acme"),
        ({"subdomain": "acme", "name": " Acme\n \tInc "}, "Acme Inc"),
        ({"name": "Acme\ud83d"}, "Acme\ufffd"),
        ({"other": "x"}, "PagerDuty"),
    ],
)
def test_an_installation_is_named_after_the_account(account: dict[str, str], name: str) -> None:
    assert Connector().connect(entry(1, "a"), account=account).installation.name == name


def test_an_invalid_subdomain_is_not_kept() -> None:
    connected = Connector().connect(entry(1, "a"), account={"subdomain": "a.b/c", "name": "Acme"})
    assert connected.installation.settings.subdomain == ""


def test_names_stay_unique() -> None:
    connector = Connector()
    connector.connect(
        entry(1, "Web", id="PA"),
        entry(2, "Web", id="PB"),
        entry(3, "Web"),
        entry(4, "Web"),
        entry(5, "", id="PC"),
        entry(6, " "),
        entry(7, "service-1"),
    )
    assert [name for _, name, _ in connector.table()] == [
        "Web",
        "Web (PB)",
        "Web 2",
        "Web 3",
        "PC",
        "Service",
        "service-1 2",
    ]
    settings = connector.installations["Acme Inc"].settings
    assert PagerDuty().installation("again", settings.__class__(services=settings.services))
    assert list(settings.faults()) == []


# accounts


def test_two_accounts_of_one_name_are_two_installations() -> None:
    connector = Connector()
    for subdomain in ("acme", "acme-labs", "other"):
        connector.connect(entry(1, "a"), account={"subdomain": subdomain, "name": "Acme"})
    assert list(connector.installations) == ["Acme", "Acme (acme-labs)", "Acme (other)"]


def test_the_same_subdomain_in_another_region_is_another_account() -> None:
    connector = Connector()
    connector.connect(entry(1, "a"))
    assert not connector.connect(entry(2, "b"), region="eu").again
    assert list(connector.installations) == ["Acme Inc", "Acme Inc (acme)"]


def test_the_same_answer_again_changes_nothing() -> None:
    connector = Connector()
    entries = [entry(1, "Checkout", id="PA"), entry(2, "Platform")]
    first = connector.connect(*entries)
    again = connector.connect(*entries)
    assert again.installation == first.installation
    assert (again.again, again.notes) == (True, ())
    bare = connector.connect(entry(1, "Checkout"), entry(2, "Platform"))
    assert bare.installation == first.installation


def test_new_services_are_added_to_the_old_ones() -> None:
    connector = Connector()
    connector.connect(entry(1, "Checkout", id="PA"))
    connected = connector.connect(entry(2, "Platform", id="PB"), account={"subdomain": "ACME"})
    assert connected.again
    assert [(id_, name) for id_, name, _ in connector.table()] == [
        ("service-1", "Checkout"),
        ("service-2", "Platform"),
    ]


def test_a_new_key_of_a_known_service_joins_the_old_one() -> None:
    """Recognised by PagerDuty's id; incidents of the old key are still followed up."""
    connector = Connector()
    connector.connect(entry(1, "Checkout", id="PA"))
    connected = connector.connect(entry(2, "Checkout", id="PA"))
    assert connector.table() == [("service-1", "Checkout", (key(2), key(1)))]
    assert connected.notes == ("The service Checkout has a new key; it keeps the old one as well.",)
    connector.connect(entry(1, "Checkout", id="PA"))
    assert connector.table() == [("service-1", "Checkout", (key(2), key(1)))]


def test_a_key_takes_precedence_over_an_id() -> None:
    connector = Connector()
    connector.connect(entry(1, "a", id="PA"), entry(2, "b", id="PB"))
    connector.connect(entry(2, "b", id="PA"))
    assert [keys for _, _, keys in connector.table()] == [(key(1),), (key(2),)]


def test_a_name_follows_pagerduty_until_the_operator_changes_it() -> None:
    connector = Connector()
    connector.connect(entry(1, "Checkout", id="PA"))
    connected = connector.connect(entry(1, "Payments", id="PA"))
    assert connected.notes == ("The service Checkout is now called Payments.",)
    assert connector.table() == [("service-1", "Payments", (key(1),))]
    from pagerduty_plugin.installation.service_table import ServiceTable

    settings = connector.installations["Acme Inc"].settings
    table = ServiceTable()
    edited = table.save(settings, [{**table.rows(settings)[0], "name": "Ours"}])
    connector.installations["Acme Inc"] = PagerDuty().installation("Acme Inc", edited)
    assert connector.connect(entry(1, "Billing", id="PA")).notes == ()
    (service,) = connector.installations["Acme Inc"].settings.services
    assert (service.id, service.name, service.pagerduty_name) == ("service-1", "Ours", "Billing")
    assert service.former_names == ("Checkout", "Payments")


def test_a_refreshed_name_stays_unique() -> None:
    connector = Connector()
    connector.connect(entry(1, "a", id="PA"), entry(2, "b", id="PB"))
    connector.connect(entry(1, "b", id="PA"))
    assert [name for _, name, _ in connector.table()] == ["b (PA)", "b"]


def test_services_added_by_hand_are_recognised_by_their_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Holds for every reference; name, reference and destination stay the operator's."""
    monkeypatch.setenv("PD_CHECKOUT", key(1))
    connector = Connector()
    connector.by_hand(
        "mine",
        {"name": "gone", "integration_key": "env:PD_NOT_SET"},
        {"name": "checkout", "integration_key": "env:PD_CHECKOUT"},
    )
    connected = connector.connect(entry(1, "Checkout at PagerDuty", id="PA"), entry(2, "New"))
    assert (connected.again, connected.installation.name) == (True, "mine")
    gone, checkout, new = connected.installation.settings.services
    assert (gone.name, checkout.name, new.name) == ("gone", "checkout", "New")
    assert checkout.destination == "checkout"
    assert (checkout.pagerduty_id, checkout.pagerduty_name) == ("PA", "Checkout at PagerDuty")
    assert [each.reference for each in checkout.keys] == ["env:PD_CHECKOUT"]
    assert connected.installation.settings.subdomain == "acme"


def test_an_answer_without_subdomain_is_recognised_by_service_id() -> None:
    connector = Connector()
    connector.connect(entry(1, "a", id="PA"))
    again = connector.connect(entry(2, "a", id="PA"), account={"name": "?"})
    assert again.again
    assert again.installation.settings.subdomain == "acme"
    assert not connector.connect(entry(3, "b", id="PB"), account={"name": "?"}).again


def test_a_key_in_another_account_is_another_installation() -> None:
    connector = Connector()
    connector.connect(entry(1, "a", id="PA"))
    connected = connector.connect(entry(1, "a", id="PA"), account={"subdomain": "other"})
    assert not connected.again


def test_settings_that_stay_unchanged_are_reported() -> None:
    connector = Connector()
    connector.connect(entry(1, "a"))
    connected = connector.connect(entry(1, "a"), region="eu", base_url="http://127.0.0.1:1")
    assert connected.installation.settings.events_url == "https://events.pagerduty.com"
    assert connected.notes == (
        "Acme Inc keeps its settings (region us, not eu; base_url of its region, not "
        "http://127.0.0.1:1); to change them, remove it and connect it again.",
    )


def test_the_installation_has_the_prefix_that_was_given() -> None:
    connector = Connector()
    settings = connector.connect(entry(1, "a"), dedup_prefix="watch-1").installation.settings
    assert settings.dedup_prefix == "watch-1"
    assert connector.connect(entry(1, "a"), dedup_prefix="watch-1").notes == ()
    assert connector.connect(entry(1, "a"), dedup_prefix="watch-2").notes == (
        "Acme Inc keeps its settings (dedup_prefix watch-1, not watch-2); to change them, remove "
        "it and connect it again.",
    )


def test_installations_of_other_providers_only_keep_their_names() -> None:
    from hostspec import Installation

    connector = Connector()
    connector.installations["Acme Inc"] = Installation("tickets", "Acme Inc", object())  # type: ignore[arg-type]
    connected = connector.connect(entry(1, "a"))
    assert (connected.again, connected.installation.name) == (False, "Acme Inc (acme)")


@pytest.mark.parametrize(("asked", "notes"), [("ACME", 0), ("acme", 0), ("labs", 1)])
def test_an_unexpected_account_is_reported(asked: str, notes: int) -> None:
    connected = Connector().finish({"config": config(entry(1, "a"))}, account=asked)
    assert len(connected.notes) == notes
    assert all("this is acme" in note for note in connected.notes)


# secrecy


def shown(value: object) -> str:
    """Show a value in every way that a log or a page may."""
    return f"{value!r} {value} {value:}"


def test_no_key_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    connector = Connector()
    connector.connect(entry(1, "a", id="PA"))
    connected = connector.connect(entry(2, "a", id="PA"), entry(3, "r", type="team_rules"))
    reported = shown(connected) + shown(connector.begin()) + caplog.text
    reported += json.dumps(to_json(connector.pending()))
    for refused in (to_json, pickle.dumps):
        with pytest.raises(LiteralSecretError) as caught:
            refused(connected.installation)
        reported += "".join(traceback.format_exception(caught.value))
    assert copy.deepcopy(connected) == connected
    assert "canary" not in reported


@pytest.mark.parametrize(
    "text",
    [
        key(1),
        '{"integration_key": "' + key(1),
        json.dumps([key(1)]),
        config({**entry(1, "a"), "integration_key": f"{key(1)}canary"}),
        config(entry(1, "a", type="team_rules")),
        config(key(1)),
    ],
)
def test_no_error_contains_a_key(text: str) -> None:
    """Neither its text nor its cause contains one."""
    with pytest.raises(InstallError) as caught:
        Connector().finish({"config": text})
    error: BaseException | None = caught.value
    reported = ""
    while error is not None:
        reported += shown(error) + str(vars(error)) + str(getattr(error, "doc", ""))
        reported += "".join(traceback.format_exception(error))
        error = error.__cause__ or error.__context__
    assert "canary" not in reported


def test_an_unreadable_key_is_a_fault_with_its_path() -> None:
    connector = Connector()
    connector.by_hand("mine", {"name": "a", "integration_key": ["env:PD_NOT_SET", key(1), "short"]})
    faults = PagerDuty().check(connector.installations["mine"])
    assert [fault.path for fault in faults] == [
        "services[0].integration_key[0]",
        "services[0].integration_key[2]",
    ]
    with pytest.raises(SecretUnavailableError):
        connector.table("mine")
