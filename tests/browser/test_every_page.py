"""Every page of the console, full of hostile text: read by everyone, and no script runs."""

from __future__ import annotations

from urllib.parse import quote

import pytest
import sqlalchemy as sa
from browsing import Browser as PlainBrowser
from chromium import Console, check_everyone_can_read
from playwright.sync_api import Page
from serving import TOKEN

from alerthost.console.app import PAGES
from alerthost.store.database import Database
from alerthost.store.rules import Rules
from alerthost.store.tables import rules
from pagerduty_plugin.testing import refusing
from pagerduty_plugin.testing.misbehaviour import failing

pytestmark = pytest.mark.proof

HOSTILE = """<script>alert(1)</script><img src=x onerror="alert(2)">"'&"""
KEY = "k" * 32
CONNECT = "/accounts/connect?provider=pagerduty&way="
EXAMPLES = {
    "/": ["/", "/?text=none"],
    "/incidents": [
        "/incidents",
        "/incidents?state=ended",
        "/incidents?state=orphaned",
        f"/incidents?text={quote(HOSTILE)}",
        "/incidents?text=none",
    ],
    "/incidents/{number:row}": ["/incidents/1", "/incidents/2", "/incidents/999999"],
    "/deliveries": ["/deliveries", "/deliveries?state=rejected", "/deliveries?state=dead"],
    "/deliveries/{number:row}": ["/deliveries/1", "/deliveries/2"],
    "/deliveries/all": ["/deliveries/all?operation=discard&state=rejected"],
    "/deliveries/progress": [
        "/deliveries/progress?operation=discard&state=rejected&total=1&through=1"
    ],
    "/alerts": ["/alerts", "/alerts?outcome=unmatched", "/alerts?outcome=dead"],
    "/alerts/try": ["/alerts/try"],
    "/accounts": ["/accounts"],
    "/accounts/connect": [f"{CONNECT}{way}" for way in ("install", "token", "hand")],
    "/account/{account}": ["/account/acme", "/account/shop", "/account/shop?text=none"],
    "/account/{account}/service": ["/account/shop/service", "/account/acme/service"],
    "/account/{account}/settings": ["/account/shop/settings"],
    "/rules": ["/rules"],
    "/rules/new": ["/rules/new"],
    "/rules/{number:row}": ["/rules/1", "/rules/2"],
    "/plugins": ["/plugins"],
    "/activity": ["/activity", "/nothing"],
}
"""URLs of each page: with content, empty, and refused."""

REFUSED = ("/incidents/999999", "/account/acme/service", "/nothing")

ANSWERS = (
    ("/account/shop", "Send a test"),
    ("/account/shop/service", "Save"),
    (f"{CONNECT}hand", "Connect"),
    ("/rules/new", "Save"),
    ("/rules/1", "Preview"),
    ("/alerts/try", "Explain"),
)
"""Pages that answer a button of another page."""


@pytest.fixture(scope="module")
def filled(console: Console) -> Console:
    """Fill the console with hostile alerts, services, rules and answers of the provider."""
    workspace, fake = console.workspace, console.workspace.fake
    fake.add_service("shop", KEY)
    browser = PlainBrowser(console.url)
    browser.sign_in(TOKEN)
    browser.open(f"/console{CONNECT}hand")
    service = {"name": "till", "integration_key": KEY}
    fields = {f"settings.services[0].{name}": text for name, text in service.items()}
    browser.send("Connect", name="shop", **fields, **{"settings.base_url": fake.url})
    for name, key in ((HOSTILE, "h" * 32), (f"gone {HOSTILE}", "g" * 32)):
        browser.open("/console/account/shop/service")
        assert browser.send("Save", name=name, integration_key=key).status == 200
    link = browser.page.html.find_all("a", string="Edit")[-1]
    browser.open(str(link["href"]))
    browser.send(f"Remove gone {HOSTILE}")
    assert "Removed services" in browser.page.text
    with Database("sqlite:///alerthost.db", workspace.folder) as database:
        action = {"use": HOSTILE, "installation": HOSTILE}
        stored = Rules(database)
        stored.add(HOSTILE, {"match": [f"team={HOSTILE}"], "actions": [action]})
        stored.add("Broken", {})
        broken = sa.update(rules).where(rules.c.name == "Broken").values(body=HOSTILE)
        with database.begin() as connection:
            connection.execute(broken)
    hostile = {"key": HOSTILE, "summary": HOSTILE, "source": HOSTILE, "labels": {"team": HOSTILE}}
    fake.misbehave(failing(status=413), times=1)
    fake.misbehave(refusing(f"Invalid {HOSTILE}"), times=1)
    console.post({**hostile, "severity": "error"})
    fake.wait_for(lambda fake: len(fake.requests) >= 2, 60)
    console.post({"key": "ended"}, {"key": "ended", "status": "resolved"}, {**hostile, "key": "b"})
    fake.wait_for(lambda fake: any(each.state == "resolved" for each in fake.incidents), 60)
    return console


def test_every_page_has_an_example() -> None:
    assert EXAMPLES.keys() == PAGES.keys()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_for_everyone_and_runs_no_hostile_text(
    filled: Console, page: Page, scheme: str
) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(f"{filled.url}/console/sign-in")
    check_everyone_can_read(page)
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    check_everyone_can_read(page)
    filled.sign_in(page)
    for path in (each for examples in EXAMPLES.values() for each in examples):
        response = page.goto(f"{filled.url}/console{path}")
        assert response
        assert response.ok != (path in REFUSED), path
        check_everyone_can_read(page)
    for path, button in ANSWERS:
        page.set_viewport_size({"width": 1440, "height": 900})
        page.goto(f"{filled.url}/console{path}")
        page.get_by_role("button", name=button, exact=True).first.click()
        page.wait_for_load_state()
        check_everyone_can_read(page)
