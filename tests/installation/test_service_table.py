"""The service table: rows that an operator edits, all or nothing."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from hostspec import FaultsError
from pagerduty_plugin.installation.service_table import ServiceTable, shared_keys
from pagerduty_plugin.provider import PagerDuty
from pagerduty_plugin.settings import InstallationSettings

from .conftest import Connector, key

Row = dict[str, Any]


def account(**changes: Any) -> InstallationSettings:
    """Return an account of two services; the second key is rotated, by reference."""
    services = [
        {
            "id": "A",
            "name": "Checkout",
            "integration_key": key(1),
            "pagerduty_id": "PA",
            "pagerduty_name": "Checkout at PagerDuty",
        },
        {"id": "B", "name": "Platform", "integration_key": ["env:PD_NEW", key(2)]},
    ]
    raw = {"region": "eu", "subdomain": "acme", "services": services, **changes}
    return PagerDuty().installation("acme", raw).settings


def saved(table: object, settings: InstallationSettings | None = None) -> InstallationSettings:
    return ServiceTable().save(settings or account(), table)


def reported(settings: InstallationSettings) -> list[tuple[str, str, list[str]]]:
    """Show services with their keys, by reference or in the clear."""
    return [
        (each.id, each.name, [held.reference or held.reveal() for held in each.keys])
        for each in settings.services
    ]


def faults(table: object, settings: InstallationSettings | None = None) -> list[str]:
    before = settings or account()
    with pytest.raises(FaultsError) as caught:
        saved(table, before)
    assert before == (settings or account())
    return [str(fault) for fault in caught.value.faults]


def test_rows_are_json_with_masked_keys() -> None:
    table = ServiceTable().rows(account())
    masks = [table[0]["integration_key"], table[1]["integration_key"][1]]
    assert table == [
        {"id": "A", "name": "Checkout", "integration_key": masks[0]},
        {"id": "B", "name": "Platform", "integration_key": ["env:PD_NEW", masks[1]]},
    ]
    assert all(mask.startswith("******** ") and len(mask) == 17 for mask in masks)
    assert masks[0] != masks[1]
    assert "canary" not in json.dumps(table)


def test_an_unchanged_table_changes_nothing() -> None:
    table = json.loads(json.dumps(ServiceTable().rows(account())))
    assert saved(table) == account()
    table[0]["integration_key"] += "\n"
    assert saved(table) == account()


def test_rows_edit_create_and_delete() -> None:
    first, _ = ServiceTable().rows(account())
    table = [
        {"name": " New ", "integration_key": f" {key(5)}\n"},
        {**first, "name": "Shop"},
        {"id": None, "name": "By reference", "integration_key": "file:/run/pd"},
        {"id": "", "name": "Two keys", "integration_key": [key(7), key(6)]},
    ]
    after = saved(table)
    assert reported(after) == [
        ("service-1", "New", [key(5)]),
        ("A", "Shop", [key(1)]),
        ("service-2", "By reference", ["file:/run/pd"]),
        ("service-3", "Two keys", [key(7), key(6)]),
    ]
    edited = after.services[1]
    assert (edited.pagerduty_id, edited.pagerduty_name) == ("PA", "Checkout at PagerDuty")
    assert (after.region, after.subdomain) == ("eu", "acme")
    assert PagerDuty().installation("acme", after).settings == after


def test_rows_without_an_id_get_random_ids() -> None:
    table = [{"name": name, "integration_key": key(n)} for n, name in enumerate("ab")]
    one, other = ServiceTable().save(account(), table).services
    assert len(one.id) == len(other.id) == 32
    assert one.id != other.id


@pytest.mark.parametrize(
    ("given", "held"),
    [
        (key(9), [key(9)]),
        ([key(9), "env:PD_NEW"], [key(9), "env:PD_NEW"]),
        (["env:PD_NEW"], ["env:PD_NEW"]),
    ],
)
def test_a_rotated_key_keeps_the_services_id(given: object, held: list[str]) -> None:
    first, second = ServiceTable().rows(account())
    after = saved([first, {**second, "integration_key": given}])
    assert reported(after)[1] == ("B", "Platform", held)


def test_masked_keys_may_be_removed_or_reordered() -> None:
    first, second = ServiceTable().rows(account())
    new, old = second["integration_key"]
    assert reported(saved([first, {**second, "integration_key": old}]))[1][2] == [key(2)]
    swapped = saved([first, {**second, "integration_key": [old, new]}])
    assert reported(swapped)[1][2] == [key(2), "env:PD_NEW"]


def test_all_faults_are_reported_with_row_and_field() -> None:
    first, second = ServiceTable().rows(account())
    table = [
        {"id": "A", "name": " ", "integration_key": ""},
        {"id": "Z", "name": "Zeta", "integration_key": key(3)},
        {"name": "Zeta", "integration_key": key(3)},
        {"id": "B", "name": 7, "integration_key": ["env:PD_NEW", None, first["integration_key"]]},
        {"id": "B", "name": "Twice", "integration_key": second["integration_key"][1]},
        {"id": ["B"], "name": "Odd", "integration_key": "u+abcdefghijklmno_-x", "colour": 1},
        {"name": "A", "integration_key": []},
        "row",
    ]
    blank_name = "is blank or not a text; give the service a name"
    blank_key = "is blank or not a text; give the service an integration key"
    unknown = "no service has this id; leave it out for a new service"
    assert faults(table) == [
        f"[0].name: {blank_name}",
        f"[0].integration_key: {blank_key}",
        f"[1].id: {unknown}",
        f"[3].name: {blank_name}",
        f"[3].integration_key[1]: {blank_key}",
        "[3].integration_key[2]: is a mask, but not of a key of this service; give the key itself",
        "[5].colour: unknown; known are id, name, integration_key",
        f"[5].id: {unknown}",
        "[5].integration_key: not an integration key: expected 32 letters and digits, got "
        "20 characters, as a REST API key has",
        f"[6].integration_key: {blank_key}",
        "[7]: must be an object",
        "[1].name: 'Zeta' is used twice",
        "[1].integration_key: the same key is used twice",
        "[2].name: 'Zeta' is used twice",
        "[2].integration_key: the same key is used twice",
        "[3].id: is used twice",
        "[4].id: is used twice",
        "[6].name: 'A' is the id of another service",
    ]


@pytest.mark.parametrize(
    ("table", "reported"),
    [
        (None, ["must be a list of rows"]),
        ({}, ["must be a list of rows"]),
        ("rows", ["must be a list of rows"]),
        ([], ["at least one service must be left; to remove all, remove the account"]),
    ],
)
def test_a_value_that_is_not_a_table_is_rejected(table: object, reported: list[str]) -> None:
    assert faults(table) == reported


def test_a_new_key_must_not_be_that_of_another_row() -> None:
    first, second = ServiceTable().rows(account())
    assert faults([first, second, {"name": "New", "integration_key": key(1)}]) == [
        "[0].integration_key: the same key is used twice",
        "[2].integration_key: the same key is used twice",
    ]
    assert faults([{**first, "integration_key": [key(4), key(4)]}]) == [
        "[0].integration_key[0]: the same key is used twice",
        "[0].integration_key[1]: the same key is used twice",
    ]


def test_existing_duplicate_keys_do_not_block_other_edits() -> None:
    given = [{"name": name, "integration_key": key(1)} for name in "ab"]
    settings = account(services=given)
    first, second = ServiceTable().rows(settings)

    assert [name for _, name, _ in reported(saved([first, {**second, "name": "c"}], settings))] == [
        "a",
        "c",
    ]
    assert faults([first, second, {"name": "d", "integration_key": key(1)}], settings) == [
        f"[{index}].integration_key: the same key is used twice" for index in range(3)
    ]


def test_a_new_service_has_no_mask_of_its_own() -> None:
    first, second = ServiceTable().rows(account())
    (fault,) = faults([second, {"name": "New", "integration_key": first["integration_key"]}])
    assert fault.startswith("[1].integration_key: is a mask")


def test_no_fault_quotes_a_key() -> None:
    table = [
        {"name": "a", "integration_key": f"{key(1)}x"},
        {"name": "b", "integration_key": {"x": key(1)}},
        {"id": key(1), "name": "c", "integration_key": f"******** {key(1)}"},
    ]
    assert "canary" not in str(faults(table))


def test_a_service_without_an_id_has_its_name_as_id() -> None:
    """It keeps the id when it is renamed."""
    settings = account(services=[{"name": "checkout", "integration_key": "env:PD_CHECKOUT"}])
    (row,) = ServiceTable().rows(settings)
    assert row == {"id": "checkout", "name": "checkout", "integration_key": "env:PD_CHECKOUT"}
    assert reported(saved([row], settings)) == [("checkout", "checkout", ["env:PD_CHECKOUT"])]
    after = saved([{**row, "name": "Shop"}], settings)
    assert reported(after) == [("checkout", "Shop", ["env:PD_CHECKOUT"])]


def test_lone_surrogates_in_a_name_are_replaced() -> None:
    assert saved([{"name": "a\ud83d", "integration_key": key(1)}]).services[0].name == "a\ufffd"


@pytest.mark.parametrize("service", ["B", "Platform"])
def test_a_rotation_keeps_both_keys_until_it_ends(service: str) -> None:
    rotated = ServiceTable().rotate(account(), service, key(9))
    assert reported(rotated)[1] == ("B", "Platform", [key(9), "env:PD_NEW", key(2)])
    assert reported(rotated)[0] == reported(account())[0]
    retired = ServiceTable().retire(rotated, service)
    assert reported(retired)[1] == ("B", "Platform", [key(9)])
    assert ServiceTable().retire(retired, service) == retired
    assert reported(ServiceTable().rotate(account(), "A", "env:NEW"))[0] == (
        "A",
        "Checkout",
        ["env:NEW", key(1)],
    )


@pytest.mark.parametrize(
    ("service", "new", "fault"),
    [
        ("Z", key(9), "there is no service 'Z'"),
        ("A", "short", "[0].integration_key[0]: not an integration key"),
        ("A", key(1), "[0].integration_key[0]: the same key is used twice"),
    ],
)
def test_an_invalid_rotation_is_rejected(service: str, new: str, fault: str) -> None:
    with pytest.raises(FaultsError) as caught:
        ServiceTable().rotate(account(), service, new)
    assert str(caught.value.faults[0]).startswith(fault)
    with pytest.raises(FaultsError):
        ServiceTable().retire(account(), "Z")


def test_a_key_in_several_places_is_reported_by_its_fingerprint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PD_CHECKOUT", key(1))
    connector = Connector()
    connector.by_hand(
        "one",
        {"name": "a", "integration_key": key(1)},
        {"name": "b", "integration_key": [key(2), key(1)]},
        {"name": "c", "integration_key": [key(3), key(3)]},
    )
    connector.by_hand(
        "two",
        {"name": "a", "integration_key": "env:PD_CHECKOUT"},
        {"name": "d", "integration_key": "env:PD_NOT_SET"},
        {"name": "e", "integration_key": key(4)},
    )
    (shared,) = shared_keys(connector.installations.values())
    assert shared == (("one", "a"), ("one", "b"), ("two", "a"))
    assert shared_keys([connector.installations["two"]]) == []


def test_a_host_edits_the_table_through_the_provider() -> None:
    table = PagerDuty().table()
    settings = account()

    added = table.save(
        settings, [*table.rows(settings), {"name": "Web", "integration_key": key(9)}]
    )
    rotated = table.rotate(settings, "Checkout", key(8))
    retired = table.retire(rotated, "A")

    assert [each["name"] for each in table.rows(added)] == ["Checkout", "Platform", "Web"]
    assert reported(rotated)[0] == ("A", "Checkout", [key(8), key(1)])
    assert reported(retired)[0] == ("A", "Checkout", [key(8)])
    assert [field.name for field in attrs.fields(table.row)] == ["name", "integration_key"]
