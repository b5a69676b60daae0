"""Services with ids and several keys, as sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import attrs
import jsonschema
import pytest

from hostspec import (
    Alert,
    Delivery,
    Installation,
    OutcomeKind,
    SecretUnavailableError,
    SendContext,
    SettingsError,
    json_schema,
    structure,
)
from hostspec.structuring import settings_to_json
from pagerduty_plugin.http.client import Client
from pagerduty_plugin.installation.service_table import ServiceTable
from pagerduty_plugin.provider import PagerDuty
from pagerduty_plugin.settings import InstallationSettings, TriggerSettings
from pagerduty_plugin.testing import FakePagerDuty
from pagerduty_plugin.trigger import Trigger

from .conftest import key

OLD, NEW = key(1), key(2)


@pytest.fixture
def fake() -> Iterator[FakePagerDuty]:
    """Return a fake whose service has both keys."""
    with FakePagerDuty() as fake:
        fake.add_service("old", OLD)
        fake.add_service("new", NEW)
        yield fake


def installation(fake: FakePagerDuty, held: object, **more: str) -> Any:
    service = {"name": "checkout", "integration_key": held, **more}
    return PagerDuty().installation("acme", {"base_url": fake.url, "services": [service]})


def plan(at: Installation[InstallationSettings], status: str, *names: str) -> list[Delivery]:
    settings = TriggerSettings(services=names or ("checkout",))
    return list(Trigger().plan(Alert("k", "Down", status=status), settings, at))


def send(at: Installation[InstallationSettings], status: str, handle: Any = None) -> Any:
    (delivery,) = plan(at, status)
    return Trigger(Client({})).send(delivery, at, SendContext(handle=handle))


def states(fake: FakePagerDuty) -> list[tuple[str, str]]:
    return [(incident.service, incident.state) for incident in fake.incidents]


def test_an_incident_is_followed_up_under_the_key_that_opened_it(fake: FakePagerDuty) -> None:
    """A new incident opens under the newest key."""
    opened = send(installation(fake, OLD), "firing")
    rotated = installation(fake, [NEW, OLD])
    assert send(rotated, "firing", opened.handle).handle == opened.handle
    assert send(rotated, "acknowledged", opened.handle).delivered
    assert states(fake) == [("old", "acknowledged")]
    again = send(rotated, "firing")
    assert states(fake) == [("old", "acknowledged"), ("new", "triggered")]
    assert send(rotated, "resolved", opened.handle).delivered
    assert states(fake) == [("old", "resolved"), ("new", "triggered")]
    assert send(rotated, "resolved", again.handle).delivered
    assert states(fake) == [("old", "resolved"), ("new", "resolved")]


def test_a_rotation_in_the_table_orphans_nothing(fake: FakePagerDuty) -> None:
    """A new name orphans nothing either: the incident refers to the service by its id."""
    before = installation(fake, OLD, id="S1")
    opened = send(before, "firing")
    rotated = ServiceTable().rotate(before.settings, "checkout", NEW)
    renamed = ServiceTable().save(rotated, [{**ServiceTable().rows(rotated)[0], "name": "Shop"}])
    (resolve,) = plan(before, "resolved")
    after = attrs.evolve(before, settings=renamed)
    context = SendContext(handle=opened.handle)
    assert Trigger(Client({})).send(resolve, after, context).delivered
    assert states(fake) == [("old", "resolved")]


def test_an_incident_of_a_removed_key_is_sent_under_no_other(fake: FakePagerDuty) -> None:
    opened = send(installation(fake, OLD), "firing")
    outcome = send(installation(fake, [NEW, "env:PD_NOT_SET"]), "resolved", opened.handle)
    assert outcome.kind is OutcomeKind.MISCONFIGURED
    assert outcome.reason == (
        "service 'checkout' does not have the key that opened the incident; has no key: the "
        "environment variable PD_NOT_SET is not set"
    )
    assert len(fake.requests) == 1


def test_a_broken_new_key_does_not_block_old_incidents(fake: FakePagerDuty) -> None:
    opened = send(installation(fake, OLD), "firing")
    for broken in ("env:PD_NOT_SET", "short"):
        at = installation(fake, [broken, OLD])
        assert send(at, "firing").kind is OutcomeKind.MISCONFIGURED
        assert send(at, "acknowledged", opened.handle).delivered
    assert states(fake) == [("old", "acknowledged")]


def test_an_empty_handle_counts_as_no_handle(fake: FakePagerDuty) -> None:
    assert send(installation(fake, [NEW, OLD]), "firing", {}).delivered
    assert states(fake) == [("new", "triggered")]


def test_each_key_of_a_rotation_has_its_rate_limit(fake: FakePagerDuty) -> None:
    (delivery,) = plan(installation(fake, OLD), "firing")
    handle = send(installation(fake, OLD), "firing").handle

    def budget(*held: str, handle: Any = None) -> str:
        (limit,) = Trigger().limits(delivery, installation(fake, list(held)), handle)
        assert (limit.count, limit.window) == (120, 60.0)
        return limit.budget

    new, old = (f"pagerduty:{hashlib.sha256(k.encode()).hexdigest()[:16]}" for k in (NEW, OLD))
    assert budget(NEW, OLD) == budget(NEW, "env:PD_NOT_SET") == new
    assert budget(NEW, OLD, handle=handle) == old
    assert budget("env:PD_NOT_SET", "env:PD_NOT_SET_EITHER", handle=handle) == old
    with pytest.raises(SecretUnavailableError):
        budget("env:PD_NOT_SET", OLD)


@pytest.mark.parametrize(
    ("held", "handle", "shown"),
    [
        (["env:PD_NEW", "env:PD_OLD"], None, "******** (env:PD_NEW)"),
        (["env:PD_NEW", "env:PD_OLD"], {"key": "x"}, "******** (env:PD_NEW or env:PD_OLD)"),
        ([NEW, "env:PD_OLD"], None, "********"),
        ([NEW, "env:PD_OLD"], {"key": "x"}, "******** (env:PD_OLD)"),
    ],
)
def test_a_preview_shows_the_references_of_the_keys(
    fake: FakePagerDuty, held: list[str], handle: Any, shown: str
) -> None:
    at = installation(fake, held)
    (delivery,) = plan(at, "resolved")
    body: Any = Trigger().preview(delivery, at, SendContext(handle=handle)).body
    assert body["routing_key"] == shown


def test_a_service_named_by_id_and_name_gets_one_event(fake: FakePagerDuty) -> None:
    at = installation(fake, NEW, id="S1")
    assert Trigger().check(TriggerSettings(services=("S1", "checkout")), at) == []
    (delivery,) = plan(at, "firing", "checkout", "S1")
    assert delivery.ref.destination == "S1"
    (gone,) = plan(at, "firing", "gone")
    assert gone.ref.destination == "gone"


def test_a_service_is_found_by_its_id_and_its_name() -> None:
    services = [
        {"id": "b", "name": "a", "integration_key": "env:A"},
        {"id": "c", "name": "d", "integration_key": "env:B"},
    ]
    settings = structure(InstallationSettings, {"services": services})
    named = {text: settings.service(text) for text in ("a", "b", "c", "d", "e")}
    assert [each and each.id for each in named.values()] == ["b", "b", "c", "c", None]


@pytest.mark.parametrize(
    ("services", "faults"),
    [
        (
            [("a", "1"), ("b", "1")],
            ["services[0].id: '1' is used twice", "services[1].id: '1' is"],
        ),
        ([("a", "1"), ("1", "2")], ["services[1].name: '1' is the id of another"]),
        ([("a", ""), ("b", "a")], ["services[1].id: 'a' is used twice"]),
        ([("a", "a"), ("b", "")], []),
        ([("a", "1"), ("a", "2")], ["services[0].name: 'a' is", "services[1].name: 'a' is used"]),
    ],
)
def test_names_and_ids_tell_services_apart(
    services: list[tuple[str, str]], faults: list[str]
) -> None:
    raw = [{"name": name, "id": each, "integration_key": "env:A"} for name, each in services]
    try:
        structure(InstallationSettings, {"services": raw})
        reported = []
    except SettingsError as error:
        reported = [str(fault) for fault in error.faults]
    assert len(reported) == len(faults)
    assert all(map(str.startswith, reported, faults)), reported


def test_one_key_or_a_list_passes_the_schema() -> None:
    validator = jsonschema.Draft202012Validator(json_schema(InstallationSettings))
    for held in ("env:A", ["env:B", "env:A"]):
        raw = {"services": [{"name": "a", "integration_key": held}]}
        validator.validate(raw)
        settings = structure(InstallationSettings, raw)
        stored = json.loads(json.dumps(settings_to_json(settings)))
        assert stored["services"][0]["integration_key"] == held
        assert structure(InstallationSettings, stored) == settings
    assert not validator.is_valid({"services": [{"name": "a", "integration_key": []}]})
