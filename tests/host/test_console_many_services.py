"""An account of many services: found by a text on each page, without scripts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browsing import Browser, Page
from serving import Start, post
from workspace import Workspace

from pagerduty_plugin.testing import FakePagerDuty

COUNT = 500
ROW = '  { name = "checkout", integration_key = "env:PD_CHECKOUT" },\n'
MANY = ROW + "".join(
    f'  {{ name = "team {number:03}", integration_key = "{number:032}" }},\n'
    for number in range(1, COUNT)
)
SERVICES = "actions[0].services"


@pytest.fixture
def browser(start: Start) -> Browser:
    return Browser(start((ROW, MANY), ('"checkout", "platform"', '"checkout"'), works=False).url)


def shown(page: Page) -> str:
    lead = page.html.select_one("main p.lead:not(.head p)")
    assert lead
    return lead.get_text()


def choices(page: Page) -> list[str]:
    found = page.html.select(f'[name^="{SERVICES}["]')
    return [each.parent.get_text(strip=True) for each in found if each.parent]


def test_list_of_accounts_names_the_first_services(browser: Browser) -> None:
    (row,) = browser.open("/console/accounts").rows()
    assert row[3].startswith("checkout, team 001, ")
    assert row[3].endswith(f"team 007, and {COUNT - 7} more")


def test_services_of_an_account_are_found_by_a_text(browser: Browser) -> None:
    page = browser.open("/console/account/acme")
    assert (len(page.rows()), shown(page)) == (100, "100 of 501 services are shown.")
    page = browser.open("/console/account/acme?text=TEAM+30")
    assert (len(page.rows()), shown(page)) == (10, "10 of 501 services are shown.")
    field = page.html.select_one("[name=text]")
    assert field
    assert field["value"] == "TEAM 30"
    page = browser.open("/console/account/acme?text=team+307")
    assert (page.rows()[0][0], shown(page)) == ("team 307", "1 of 501 services is shown.")
    page = browser.open("/console/account/acme?text=none")
    assert "No service matches" in page.text
    assert page.html.find("a", string="Show all services")


def test_overview_shows_services_with_trouble_first(start: Start) -> None:
    running = start((ROW, MANY), ('"checkout", "platform"', '"team 400"'), works=False)
    alert = {"key": "a", "severity": "critical", "labels": {"team": "data"}}
    assert post(running.url, alert).status == 202
    running._app.backend.engine.drain()
    browser = Browser(running.url)
    page = browser.open("/console/")
    cards = [" ".join(each.get_text(" ").split()) for each in page.html.select("article header")]
    assert cards[:2] == ["acme/team 400 blocked", "acme/checkout healthy"]
    assert (len(cards), shown(page)) == (60, "60 of 501 services are shown.")
    page = browser.open("/console/?text=platform")
    (card,) = page.html.select("article h3")
    assert card.get_text() == "acme/platform"
    page = browser.open("/console/?text=none")
    assert "No service matches" in page.text


def test_services_of_a_rule_are_found_and_chosen_ones_stay(browser: Browser) -> None:
    page = browser.open("/console/rules/new")
    assert len(choices(page)) == COUNT + 1
    page = browser.send("Preview", name="Teams", **{f"{SERVICES}[0]": "checkout"})
    page = browser.send("Preview", **{f"filter {SERVICES}": "TEAM 30"})
    assert choices(page) == ["checkout", *(f"team 30{number}" for number in range(10))]
    (chosen,) = page.html.select(f'[name^="{SERVICES}["][checked]')
    assert chosen["value"] == "checkout"
    field = page.html.select(f'[name^="{SERVICES}["]')[8]
    changes = {str(field["name"]): str(field["value"]), f"filter {SERVICES}": ""}
    page = browser.send("Preview", **changes)
    assert len(page.html.select(f'[name^="{SERVICES}["][checked]')) == 2
    page = browser.send("Save")
    assert "checkout, team 307" in page.rows()[1][3]


@pytest.fixture
def large() -> Iterator[FakePagerDuty]:
    with FakePagerDuty(subdomain="large") as fake:
        for number in range(30):
            fake.add_service(f"team {number:03}")
        yield fake


def test_services_of_a_token_are_found_and_chosen_ones_stay(
    start: Start, workspace: Workspace, large: FakePagerDuty
) -> None:
    workspace.configure_bare()
    browser = Browser(start(http='[store]\nkey = "file:alerthost.key"', works=False).url)
    browser.open("/console/accounts/connect?provider=pagerduty&way=token")
    given = {"token": large.add_api_token(), "api_url": large.url, "base_url": large.url}
    page = browser.send("Find services", **{f"settings.{key}": text for key, text in given.items()})
    assert (len(page.rows()), shown(page)) == (30, "30 of 30 services are shown.")
    page = browser.send("Filter", text="team 01")
    assert len(page.rows()) == 10
    assert "Of the others, 20 are chosen." in shown(page)
    page = browser.send("Filter", text="none")
    assert "No service matches" in page.text
    page = browser.send("Connect the chosen services")
    assert "The account is connected." in page.text
    assert len(page.rows()) == 30
