"""Accounts in a real browser: connected in every way, edited, broken and mended; and no secret."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chromium import Console, check_everyone_can_read
from playwright.sync_api import Page, expect
from serving import TOKEN
from workspace import STORE_KEY

from pagerduty_plugin.testing import App, FakePagerDuty, refusing

pytestmark = pytest.mark.proof

HOSTILE = """<img src=x onerror="alert(1)">'"&"""
REFUSED = f"Invalid routing key {HOSTILE}"
OLD, NEW = "canaryoldkey" + "a" * 20, "canarynewkey" + "b" * 20
RULE = """
[[rules]]
name = "Of the shop"
match = ['key=~"shop/.*"']
[[rules.actions]]
use = "pagerduty.trigger"
installation = "shop"
services = ["checkout"]
"""
PAGES = (
    *("/", "/incidents", "/incidents?state=ended", "/incidents/1", "/deliveries", "/deliveries/1"),
    *("/alerts", "/accounts", "/account/shop", "/account/shop/settings", "/plugins", "/activity"),
    *(f"/accounts/connect?provider=pagerduty&way={way}" for way in ("install", "token", "hand")),
)


@pytest.fixture
def other() -> Iterator[FakePagerDuty]:
    """Another account at PagerDuty, with a hostile service."""
    with FakePagerDuty(subdomain="beta") as fake:
        fake.add_service(HOSTILE)
        fake.add_service("beta pager")
        yield fake


def connect_in_browser(
    page: Page, url: str, fake: FakePagerDuty, account: str, *services: str
) -> None:
    """Connect services of an account by the install flow."""
    back = f"{url}/console/accounts/installed"
    fake.register_app(App(app_id="PAPP", redirect_urls=(back,), account=account, subdomain=account))
    page.goto(f"{url}/console/accounts/connect?provider=pagerduty&way=install")
    page.get_by_label("App id").fill("PAPP")
    page.get_by_text("Optional settings").click()
    page.locator("[name='settings.install_url']").fill(fake.url)
    page.locator("[name='settings.base_url']").fill(fake.url)
    page.get_by_role("button", name="Connect").click()
    page.get_by_role("link", name="Continue at PagerDuty").click()
    for service in services:
        page.get_by_label(service, exact=True).check()
    page.locator("form button, form input[type=submit]").first.click()
    page.get_by_text("The account is connected.").wait_for()
    for service in services:
        expect(page.get_by_role("cell", name=service, exact=True).first).to_be_visible()


def connect_by_hand(page: Page, url: str, fake: FakePagerDuty, name: str, key: str) -> None:
    """Connect an account with one service."""
    page.goto(f"{url}/console/accounts/connect?provider=pagerduty&way=hand")
    page.get_by_label("Name of the account").fill(name)
    page.locator("[name='settings.services[0].name']").fill("checkout")
    page.locator("[name='settings.services[0].integration_key']").fill(key)
    page.get_by_text("Optional settings").click()
    page.locator("[name='settings.base_url']").fill(fake.url)
    page.get_by_role("button", name="Connect").click()
    page.get_by_text("The account is connected.").wait_for()


def edit_the_table(page: Page) -> None:
    """Add a service with a mistake at first, remove it, and rename another."""
    page.get_by_role("link", name="Add a service").click()
    page.locator("[name=name]").fill("platform")
    page.locator("[name=integration_key]").fill("too short")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#integration_key-help")).to_contain_text("not an integration key")
    page.locator("[name=integration_key]").fill(NEW)
    page.get_by_role("button", name="Save").click()
    page.get_by_text("The change is saved, and in use.").wait_for()
    page.get_by_role("row", name="platform").get_by_role("link", name="Edit").click()
    page.get_by_role("button", name="Remove platform").click()
    page.get_by_role("heading", name="Removed services").wait_for()
    page.get_by_role("row", name="checkout").get_by_role("link", name="Edit").click()
    page.locator("[name=name]").fill("core")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("The change is saved, and in use.").wait_for()


def check_no_secret_is_shown(console: Console, page: Page, url: str) -> None:
    """Check that no key or token is in a page, a cookie or the log."""
    for path in PAGES:
        page.goto(f"{url}/console{path}")
        text = page.content()
        assert [each for each in (OLD, NEW, TOKEN, STORE_KEY) if each in text] == [], path
    cookies = str(page.context.cookies()) + str(page.evaluate("document.cookie"))
    assert [each for each in (OLD, NEW, TOKEN, STORE_KEY) if each in cookies] == []
    log = console.process.log
    assert "shop" in log
    assert [each for each in (OLD, NEW, TOKEN, STORE_KEY) if each in log] == []


def test_accounts_are_connected_in_every_way_edited_broken_and_mended(
    console: Console, page: Page, other: FakePagerDuty
) -> None:
    fake, url = console.workspace.fake, console.url.replace("127.0.0.1", "localhost")
    for name, key in (("old", OLD), ("new", NEW)):
        fake.add_service(name, key)
    console.sign_in(page, url)
    connect_in_browser(page, url, fake, "first", "checkout", "platform")
    connect_in_browser(page, url, other, "second", "beta pager", HOSTILE)
    connect_by_hand(page, url, fake, "shop", OLD)

    with (console.workspace.folder / "alerthost.toml").open("a", encoding="utf-8") as file:
        file.write(RULE)
    edit_the_table(page)  # which reloads the configuration

    fake.misbehave(refusing(REFUSED), key=OLD, times=1000)
    console.post({"key": "shop/till", "summary": HOSTILE, "severity": "critical"})
    page.goto(f"{url}/console/")
    problem = page.locator(".problem", has_text="shop/core is blocked")
    problem.wait_for()
    expect(problem).to_contain_text(f"400: {REFUSED}")
    problem.click()
    page.get_by_role("row", name="shop/till").get_by_role("link").first.click()
    expect(page.locator("ol.timeline")).to_contain_text(f"400: {REFUSED}")

    page.goto(f"{url}/console/account/shop")
    page.get_by_role("link", name="Edit").click()
    page.get_by_label("New key").fill(NEW)
    page.get_by_role("button", name="Rotate", exact=True).click()
    page.get_by_text("The change is saved, and in use.").wait_for()
    fake.wait_for(lambda fake: any(each.dedup_key == "shop/till" for each in fake.incidents), 60)
    page.goto(f"{url}/console/")
    page.get_by_role("heading", name="Overview").wait_for()
    problem.wait_for(state="detached")
    expect(page.locator("article", has_text="shop/core")).to_contain_text("healthy")

    check_no_secret_is_shown(console, page, url)


def test_services_of_a_token_are_chosen_and_no_hostile_name_runs(
    console: Console, page: Page, other: FakePagerDuty
) -> None:
    token = other.add_api_token()
    console.sign_in(page)
    page.goto(f"{console.url}/console/accounts/connect?provider=pagerduty&way=token")
    page.locator("[name='settings.token']").fill(token)
    page.get_by_text("Optional settings").click()
    page.locator("[name='settings.api_url']").fill(other.url)
    page.locator("[name='settings.base_url']").fill(other.url)
    page.get_by_role("button", name="Find services").click()
    page.get_by_role("heading", name="Choose the services").wait_for()
    assert token not in page.content()
    check_everyone_can_read(page)
    page.set_viewport_size({"width": 1440, "height": 900})
    page.get_by_label("beta pager").uncheck()
    page.get_by_role("button", name="Connect the chosen services").click()
    page.get_by_text("The account is connected.").wait_for()
    expect(page.get_by_role("cell", name=HOSTILE, exact=True)).to_be_visible()
    assert page.get_by_role("cell", name="beta pager").count() == 0
    page.get_by_role("link", name="Edit").first.click()
    expect(page.locator("h1")).to_have_text(HOSTILE)

    connect_by_hand(page, console.url, other, HOSTILE, "d" * 32)
    expect(page.locator("h1")).to_have_text(HOSTILE)
    for path in ("/", "/accounts", "/activity", "/incidents", "/deliveries", "/rules/new"):
        page.goto(f"{console.url}/console{path}")
    page.goto(f"{console.url}/console/accounts")
    page.get_by_role("link", name=HOSTILE, exact=True).click()
    expect(page.locator("h1")).to_have_text(HOSTILE)
