"""The console in a real browser: an operator at work."""

from __future__ import annotations

import pytest
from chromium import Console, tab_to
from playwright.sync_api import Page, expect
from serving import TOKEN

from pagerduty_plugin.testing import App
from pagerduty_plugin.testing.misbehaviour import failing

pytestmark = pytest.mark.proof


def alert(key: str, **fields: object) -> dict[str, object]:
    return {"key": key, "summary": f"Trouble with {key}", "severity": "critical", **fields}


def send_rejected(console: Console, key: str) -> None:
    """Post an alert; the provider rejects one of its deliveries."""
    fake = console.workspace.fake
    fake.misbehave(failing(status=413), times=1)
    console.post(alert(key))
    fake.wait_for(lambda fake: sum(key in str(each.body) for each in fake.requests) == 2, 30)


def test_operator_follows_an_incident_without_a_reload(console: Console, page: Page) -> None:
    fake = console.workspace.fake
    console.sign_in(page)
    key = f"live-{len(fake.incidents)}"
    console.post(alert(key))
    row = page.get_by_role("row").filter(has_text=f"Trouble with {key}").first
    row.wait_for()
    expect(row).to_contain_text("triggered")

    row.get_by_role("link").click()
    page.get_by_role("button", name="Acknowledge").click()
    page.get_by_text("The acknowledge is queued.").wait_for()
    page.locator("dd .pill", has_text="acknowledged").wait_for()
    page.get_by_role("button", name="Resolve").click()
    page.locator("dd .pill", has_text="resolved").wait_for()
    page.get_by_text("Message").first.click()
    assert f'"dedup_key": "{key}"' in (page.locator(".timeline pre").first.text_content() or "")
    page.get_by_role("link", name="Activity").click()
    page.get_by_text("Resolved incident").first.wait_for()


def test_broken_key_is_seen_and_its_delivery_goes_on_when_mended(
    console: Console, page: Page
) -> None:
    fake, key_file = console.workspace.fake, console.workspace.folder / "pd_platform"
    right = key_file.read_text(encoding="utf-8")
    console.sign_in(page)
    key_file.write_text("b" * 32, encoding="utf-8")
    console.post(alert("broken/key"))
    problem = page.locator(".problem", has_text="acme/platform is blocked")
    problem.wait_for()
    expect(problem).to_contain_text("Invalid routing key")
    key_file.write_text(right, encoding="utf-8")
    problem.wait_for(state="detached", timeout=60_000)
    fake.wait_for(
        lambda fake: sum(each.dedup_key == "broken/key" for each in fake.incidents) == 2, 60
    )


def test_deliveries_that_were_given_up_are_replayed(console: Console, page: Page) -> None:
    fake = console.workspace.fake
    send_rejected(console, "cron/backup")
    before = len(fake.incidents)
    console.sign_in(page)
    page.get_by_role("link", name="1 delivery rejected").click()
    page.get_by_role("link", name="Replay all").click()
    page.get_by_role("heading", name="Replay 1 rejected delivery?").wait_for()
    page.get_by_role("button", name="Replay 1").click()
    page.get_by_text("Finished: 1 done.").wait_for()
    fake.wait_for(lambda fake: len(fake.incidents) == before + 1, 30)


def test_account_is_connected_at_pagerduty_and_the_session_goes_on(
    console: Console, page: Page
) -> None:
    """PagerDuty is another site, so its redirect does not bring the session's cookie."""
    fake, url = console.workspace.fake, console.url.replace("127.0.0.1", "localhost")
    fake.register_app(App(app_id="PAPP", redirect_urls=(f"{url}/console/accounts/installed",)))
    console.sign_in(page, url)
    page.get_by_role("link", name="Accounts").click()
    page.get_by_role("link", name="Connect PagerDuty").click()
    page.get_by_label("App id").fill("PAPP")
    page.get_by_text("Optional settings").click()
    page.locator("[name='settings.install_url']").fill(fake.url)
    page.locator("[name='settings.base_url']").fill(fake.url)
    page.get_by_role("button", name="Connect").click()
    page.get_by_role("link", name="Continue at PagerDuty").click()
    page.get_by_label("checkout").check()
    page.locator("form button, form input[type=submit]").first.click()
    page.get_by_text("The account is connected.").wait_for()
    expect(page.get_by_role("cell", name="checkout").first).to_be_visible()
    page.get_by_text("Signed in as operator").wait_for()
    page.get_by_role("button", name="Send a test").first.click()
    page.get_by_text("All well: the provider accepted every message.").wait_for()
    page.goto(f"{fake.url}/")
    page.evaluate("url => { location.href = url }", f"{url}/console/incidents")
    page.get_by_role("heading", name="Incidents").wait_for()


def test_form_is_filled_in_and_sent_by_keyboard_alone(console: Console, page: Page) -> None:
    page.goto(f"{console.url}/console/alerts/try")
    expect(page.get_by_label("Token")).to_be_focused()
    page.keyboard.type(TOKEN)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Try an alert").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    tab_to(page, page.locator("textarea"))
    page.keyboard.press("Control+a")
    page.keyboard.type('{"key": "typed", "status": "on"}')
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#faults")).to_contain_text('"on" is unknown')


def test_incident_is_resolved_by_keyboard_alone(console: Console, page: Page) -> None:
    key = "keyboard/alone"
    console.post(alert(key))
    page.goto(f"{console.url}/console/incidents?text={key}&service=acme/checkout")
    expect(page.get_by_label("Token")).to_be_focused()
    page.keyboard.type(TOKEN)
    page.keyboard.press("Enter")
    incident = page.get_by_role("link", name=f"Trouble with {key}", exact=True)
    incident.wait_for()
    tab_to(page, incident)
    console.post(alert(f"{key}/too"))  # the list is renewed, and the focus stays
    page.get_by_role("row", name=f"{key}/too").wait_for()
    expect(incident).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name=f"Trouble with {key}").wait_for()
    tab_to(page, page.get_by_role("button", name="Resolve"))
    page.keyboard.press("Space")
    page.get_by_text("The resolve is queued.").wait_for()
    page.locator("dd .pill", has_text="resolved").wait_for()
