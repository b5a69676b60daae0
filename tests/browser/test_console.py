"""The console in a real browser: an operator at work, and pages that everyone can read."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from chromium import Console, check_everyone_can_read
from playwright.sync_api import Browser, Page, expect
from serving import TOKEN

from pagerduty_plugin.testing import App, FakePagerDuty
from pagerduty_plugin.testing.misbehaviour import failing

pytestmark = pytest.mark.proof

HOSTILE = """<script>alert(1)</script><img src=x onerror="alert(2)">"'&"""
PAGES = (
    "/console/",
    "/console/incidents",
    "/console/incidents?state=ended",
    "/console/incidents?state=orphaned",
    "/console/incidents/1",
    "/console/deliveries",
    "/console/deliveries/1",
    "/console/deliveries?state=rejected",
    "/console/deliveries/all?operation=discard&state=queued",
    "/console/alerts",
    "/console/alerts?outcome=dead",
    "/console/alerts/try",
    "/console/accounts",
    "/console/accounts/connect?provider=pagerduty",
    "/console/accounts/connect?provider=pagerduty&way=hand",
    "/console/accounts/connect?provider=pagerduty&way=token",
    "/console/account/acme",
    "/console/plugins",
    "/console/activity",
    "/console/nothing",
)


def alert(key: str, **fields: object) -> dict[str, object]:
    return {"key": key, "summary": f"Trouble with {key}", "severity": "critical", **fields}


def states(fake: FakePagerDuty, key: str) -> list[str]:
    """Return the states of the incidents with a key."""
    return [each.state for each in fake.incidents if each.dedup_key == key]


@pytest.fixture(scope="module")
def filled(console: Console) -> Console:
    """Fill the console with open, ended and hostile incidents, and rejected deliveries."""
    fake = console.workspace.fake  # other tests of this module may have sent alerts before
    fake.misbehave(failing(status=413), times=1)
    console.post(alert("cron/backup", severity="error"))
    fake.wait_for(
        lambda fake: sum("cron/backup" in str(each.body) for each in fake.requests) == 2, 30
    )
    console.post(
        alert("db-1/disk", summary="Disk full on db-1: 98 % of /var/lib/postgresql"),
        alert("api/latency", summary="p99 latency of the API above 2 s", severity="warning"),
        alert(HOSTILE, summary=HOSTILE, source=HOSTILE, severity="info"),
    )
    for key in ("db-1/disk", "api/latency", HOSTILE):
        fake.wait_for(lambda fake, key=key: states(fake, key) == ["triggered"] * 2, 30)
    console.post(alert("api/latency", status="resolved"))
    fake.wait_for(lambda fake: states(fake, "api/latency") == ["resolved"] * 2, 30)
    return console


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


def test_deliveries_that_were_given_up_are_replayed(filled: Console, page: Page) -> None:
    fake = filled.workspace.fake
    before = len(fake.incidents)
    filled.sign_in(page)
    page.get_by_role("link", name="1 delivery rejected").click()
    page.get_by_role("link", name="Replay all").click()
    page.get_by_role("heading", name="Replay 1 rejected delivery?").wait_for()
    page.get_by_role("button", name="Replay 1").click()
    page.get_by_text("Finished: 1 done.").wait_for()
    fake.wait_for(lambda fake: len(fake.incidents) == before + 1, 30)
    # the next test of this module needs one, too
    fake.misbehave(failing(status=413), times=1)
    filled.post(alert("cron/report", severity="error"))
    page.goto(f"{filled.url}/console/")
    page.get_by_role("link", name="1 delivery rejected").wait_for()


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
    page.keyboard.press("Tab")  # past the way back
    page.keyboard.press("Tab")
    page.keyboard.press("Control+a")
    page.keyboard.type('{"key": "typed", "status": "on"}')
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#faults")).to_contain_text('"on" is unknown')


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible_and_fit_every_width(
    filled: Console, browser: Browser, scheme: str
) -> None:
    with browser.new_context(color_scheme=scheme) as context:  # type: ignore[arg-type]
        page = context.new_page()
        filled.sign_in(page)
        for path in (*PAGES, f"/console/incidents?text={quote(HOSTILE)}", "/console/sign-in"):
            if path.endswith("sign-in"):
                context.clear_cookies()
            page.goto(f"{filled.url}{path}")
            check_everyone_can_read(page)


def test_no_hostile_text_runs_as_a_script(filled: Console, page: Page) -> None:
    filled.sign_in(page)
    for path in (*PAGES, f"/console/incidents?text={quote(HOSTILE)}"):
        page.goto(f"{filled.url}{path}")
    page.goto(f"{filled.url}/console/incidents?text={quote('<script>')}")
    page.get_by_role("link", name=HOSTILE).first.click()
    expect(page.locator("h1")).to_have_text(HOSTILE)
