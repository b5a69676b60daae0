"""Rules and accounts that another program wrote into the store: shown with their faults."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
import sqlalchemy as sa
from browsing import Browser, Page
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from serving import Start
from size import WHOLE
from workspace import CHECKOUT, STORE_KEY, Workspace, line

from alerthost.cli.server import Server
from alerthost.store.database import Database
from alerthost.store.tables import installations, rules

ACTION = {"use": "pagerduty.trigger", "installation": "acme", "services": ["checkout"]}
NO_TABLE = (
    "another program changed it in the database, and it is no JSON table now; enter it again in "
    "the console, or delete it there"
)
EN_DASH = "\N{EN DASH}"
DEEP = "[" * 5000 + "]" * 5000
MANY = settings(
    max_examples=60 if WHOLE else 15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

texts = st.sampled_from(
    ["", "checkout", "acme", "pagerduty.trigger", 'team="web"', "{{ oops", "1m"]
)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
values = st.recursive(
    leaves, lambda below: st.lists(below, max_size=3) | st.dictionaries(texts, below, max_size=3)
)
SETTINGS = ("services", "severity", "summary", "details", "links", "images", "event_actions")
actions = st.fixed_dictionaries(
    {"use": st.just("pagerduty.trigger") | values},
    optional={"installation": st.just("acme") | values, **dict.fromkeys(SETTINGS, values)},
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "match": values,
        "for": values,
        "resolve_unknown": values,
        "odd": values,
        "name": values,
        "actions": st.lists(actions | values, max_size=3) | values,
    },
)
table = st.fixed_dictionaries(
    {},
    optional={
        "services": st.lists(
            st.fixed_dictionaries(
                {}, optional={"name": values, "integration_key": values, "id": values}
            )
            | values,
            max_size=2,
        ),
        "base_url": values,
        "network": values,
        "$binding": values,
        "$sealed": values,
    },
)


@pytest.fixture
def running(start: Start, workspace: Workspace) -> Server:
    """Run with a rule and an account in the store."""
    (workspace.folder / "alerthost.key").write_text(STORE_KEY, encoding="utf-8")
    running = start(http='[store]\nkey = "file:alerthost.key"', works=False)
    browser = Browser(running.url)
    browser.open("/console/rules/new")
    browser.send("Save", name="Disks", match="", **{"actions[0].services[0]": "checkout"})
    browser.open("/console/accounts/connect?provider=pagerduty&way=hand")
    service = "settings.services[0]"
    fields = {f"{service}.name": "checkout", f"{service}.integration_key": CHECKOUT}
    assert browser.send("Connect", name="shop", **fields).title == "shop"
    return running


def write(workspace: Workspace, column: sa.Column[Any], text: str) -> None:
    """Write into the store as another program does."""
    with (
        Database("sqlite:///alerthost.db", workspace.folder) as database,
        database.begin() as connection,
    ):
        connection.execute(sa.update(column.table).values({column: text}))


def open_all(browser: Browser, *paths: str) -> list[Page]:
    return [browser.open(f"/console{path}") for path in paths]


@pytest.mark.sized
@MANY
@given(body=(bodies | values).map(json.dumps) | st.text(max_size=20))
@example(body='{"actions": [{"installation": "acme"}]}')
@example(body='{"match": 5, "actions": {"use": 1}}')
@example(body='{"actions": [{"use": "pagerduty.trigger", "links": [5, {"href": []}]}]}')
@example(body="{broken")
@example(body=DEEP)
@example(body=f'{{"match": {DEEP[4800:5200]}, "actions": []}}')
@example(body="1" * 5000)
@example(body='{"actions": [NaN]}')
def test_any_stored_rule_has_its_pages(running: Server, workspace: Workspace, body: str) -> None:
    write(workspace, rules.c.body, body)
    browser = Browser(running.url)
    for page in open_all(browser, "/", "/rules", "/rules/new", "/accounts", "/account/shop"):
        assert page.status == 200, page.text
    page = browser.open("/console/rules/1")
    assert page.status == 200, page.text
    page = browser.send("Preview")
    assert page.status == 200, page.text
    assert running.reload()


@pytest.mark.sized
@MANY
@given(text=(table | values).map(json.dumps) | st.text(max_size=20))
@example(text="{broken")
@example(text='{"services": [{"name": "a", "integration_key": {"$sealed": 5}}], "$binding": 7}')
@example(text=DEEP)
def test_any_stored_account_has_its_pages(running: Server, workspace: Workspace, text: str) -> None:
    write(workspace, installations.c.settings, text)
    browser = Browser(running.url)
    pages = ("/", "/accounts", "/account/shop", "/rules", "/rules/1")
    for page in open_all(browser, *pages):
        assert page.status == 200, page.text
    for page in open_all(browser, "/account/shop/service", "/account/shop/settings"):
        assert page.status in {200, 409}, page.text
    running.reload()


@pytest.mark.parametrize(
    ("body", "listed", "reasons"),
    [
        ("{broken", [f"Disks {NO_TABLE}", "not in force", EN_DASH, ""], [NO_TABLE]),
        ("[5]", [f"Disks {NO_TABLE}", "not in force", EN_DASH, ""], [NO_TABLE]),
        (
            "{}",
            ["Disks actions: missing; it is required", "not in force", "every alert", ""],
            ["actions: missing; it is required"],
        ),
        (
            json.dumps({"match": 5, "actions": [ACTION]}),
            ["Disks match: must be a list, not the number 5", "not in force", EN_DASH],
            ["must be a list, not the number 5"],
        ),
        (
            json.dumps({"actions": [{"installation": "acme"}]}),
            ["Disks actions[0].use: missing; it is required", "not in force", "every alert", ""],
            ["actions[0].use: missing; it is required"],
        ),
    ],
)
def test_broken_rule_is_shown_with_its_faults_and_stored_text(
    running: Server, workspace: Workspace, body: str, listed: list[str], reasons: list[str]
) -> None:
    write(workspace, rules.c.body, body)
    browser = Browser(running.url)
    assert browser.open("/console/rules").rows()[1][: len(listed)] == listed
    page = browser.open("/console/rules/1")
    assert "As it is stored, the rule has a fault: the rule is not in force." in page.text
    assert all(reason in page.text for reason in reasons)
    stored = page.html.select_one('[aria-label="The rule as it is stored"]')
    assert stored
    with contextlib.suppress(ValueError):
        assert json.loads(stored.get_text()) == json.loads(body)
        return
    assert stored.get_text() == body


def test_broken_rule_is_switched_off_mended_and_deleted(
    running: Server, workspace: Workspace
) -> None:
    write(workspace, rules.c.body, "{broken")
    browser = Browser(running.url)
    browser.open("/console/rules/1")
    page = browser.send("Switch off Disks")
    assert page.rows()[1][1] == "off"
    page = browser.open("/console/rules/1")
    assert "As it is stored, the rule has a fault. Correct and save it" in page.text
    browser.send("Switch on Disks")
    browser.open("/console/rules/1")
    browser.send("Add")
    page = browser.send("Save", **{"actions[0].services[0]": "checkout"})
    assert page.rows()[1][:2] == ["Disks", "in force"]
    (entry, *_) = browser.open("/console/activity").rows()
    assert entry[1:3] == ["Changed rule Disks", "{broken"]
    assert '"use": "pagerduty.trigger"' in entry[3]
    write(workspace, rules.c.body, "[]")
    browser.open("/console/rules/1")
    browser.send("Delete Disks")
    assert browser.open("/console/activity").rows()[0][1:3] == ["Deleted rule Disks", "[]"]


def test_broken_rule_stops_no_other_rule(running: Server, workspace: Workspace) -> None:
    write(workspace, rules.c.body, "{broken")
    explained = workspace.alerthost("explain", "--json", given=line())
    assert [each["rule"] for each in json.loads(explained.stdout)["rules"]] == ["Pages"]
    fault = f"store sqlite:///alerthost.db: rule 'Disks': {NO_TABLE}; the rule is not in force"
    assert fault in explained.stderr


def test_broken_account_is_shown_and_disconnected(running: Server, workspace: Workspace) -> None:
    write(workspace, installations.c.settings, "{broken")
    reason = "installation 'shop': settings: must be a table, not text"
    assert reason in workspace.alerthost("check").stderr
    resealed = workspace.alerthost("reseal")
    assert "and its settings are no table; run `alerthost disconnect shop`" in resealed.stderr
    browser = Browser(running.url)
    page = browser.open("/console/account/shop")
    assert reason in page.text
    assert "Removed services" not in page.text
    browser.send("Disconnect shop")
    assert "shop" not in browser.page.text
