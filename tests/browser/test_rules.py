"""Rules made in a real browser: seen while they are typed, refused if wrong, and in force."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chromium import Console, check_everyone_can_read, tab_to
from playwright.sync_api import Browser, Page, expect
from serving import TOKEN, Process

pytestmark = pytest.mark.proof

HOSTILE = """<script>alert(1)</script><img src=x onerror="alert(2)">"'&"""


@pytest.fixture
def editing(console: Console, page: Page) -> Page:
    """Open the form of a new rule, after alerts of two teams were posted."""
    console.post(
        *(
            {"key": f"{team}-1/disk", "summary": f"Disk of {team}", "labels": {"team": team}}
            for team in ("web", HOSTILE)
        )
    )
    console.sign_in(page)
    page.get_by_role("link", name="Rules").click()
    page.get_by_role("link", name="New rule").click()
    return page


def delete(page: Page, name: str) -> None:
    page.get_by_role("link", name=name, exact=True).click()
    page.get_by_role("button", name=f"Delete {name}").click()
    page.get_by_text("The rule is deleted.").wait_for()


def test_rule_is_made_by_form_and_its_alert_opens_an_incident(
    console: Console, editing: Page
) -> None:
    page, fake = editing, console.workspace.fake
    preview = page.locator("#preview")
    page.get_by_label("Name", exact=True).fill("Disks")
    page.get_by_label("Match", exact=True).fill('team="web"')
    expect(preview.locator("li", has_text="Disk of web")).to_contain_text("matches")
    other = preview.locator("li", has_text=f"Disk of {HOSTILE}")
    expect(other).to_contain_text("does not match")
    page.get_by_label("checkout", exact=True).check()
    summary = page.get_by_label("Summary", exact=True)
    summary.fill("{{ summary | upper ")
    fault = page.locator(".field", has=summary).locator(".fault")
    expect(fault).to_contain_text("unexpected end of template")

    page.get_by_role("button", name="Save").click()
    expect(fault).to_contain_text("unexpected end of template")
    summary.fill("{{ summary | upper }}, rule {{ labels.team }}")
    expect(fault).to_have_count(0)
    expect(preview.locator("pre")).to_contain_text("DISK OF WEB, rule web")
    other.get_by_role("radio").check()
    expect(preview.locator("pre")).to_contain_text(f"rule {HOSTILE[:20]}")
    page.get_by_label("Dedup key").fill("rule and alert")  # apart from the rule of the file
    page.get_by_role("button", name="Save").click()
    page.get_by_text("The rule is saved, and in force.").wait_for()

    page.get_by_role("link", name="Overview").click()
    console.post({"key": "web-2/disk", "summary": "Disk of a rule", "labels": {"team": "web"}})
    rows = page.get_by_role("row").filter(has_text="Disk of a rule")
    expect(rows).to_have_count(3)  # two of the rule of the file
    sent = ("checkout", "DISK OF A RULE, rule web", "triggered")
    fake.wait_for(
        lambda fake: sent in [(one.service, one.summary, one.state) for one in fake.incidents], 30
    )
    page.get_by_role("link", name="Rules").click()
    delete(page, "Disks")


def test_rule_is_in_force_in_another_process(console: Console, editing: Page) -> None:
    page, workspace = editing, console.workspace
    with Process(workspace, "--no-http", ALERTHOST_TOKEN=TOKEN) as other:
        other.wait_for("delivering alerts that other processes on this store accept")
        page.get_by_label("Name", exact=True).fill("Elsewhere")
        page.get_by_label("platform", exact=True).check()
        page.get_by_role("button", name="Save").click()
        page.get_by_text("The rule is saved, and in force.").wait_for()
        other.wait_for("reloaded")
        delete(page, "Elsewhere")
        other.wait_for("reloaded")


def test_rule_is_made_by_keyboard_alone(console: Console, editing: Page) -> None:
    page = editing
    tab_to(page, page.locator("#name"))
    page.keyboard.type("Typed")
    page.keyboard.press("Enter")  # previews, and saves nothing
    expect(page.locator("#preview")).to_contain_text("recent alerts match")
    assert page.locator("h1").inner_text() == "New rule"
    tab_to(page, page.locator("[value=checkout]"))
    page.keyboard.press("Space")
    tab_to(page, page.locator("[value=save]"))
    page.keyboard.press("Enter")
    page.get_by_text("The rule is saved, and in force.").wait_for()
    delete(page, "Typed")


def test_rule_is_made_without_javascript(console: Console, browser: Browser) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        console.sign_in(page)
        page.goto(f"{console.url}/console/rules/new")
        page.get_by_label("Name", exact=True).fill("Plain")
        page.get_by_label("Match", exact=True).fill("severity>error")
        page.get_by_role("button", name="Preview", exact=True).click()
        expect(page.locator("#match-help")).to_contain_text("> is not an operator")
        page.get_by_label("Match", exact=True).fill("severity=error")
        page.get_by_label("checkout", exact=True).check()
        page.get_by_role("button", name="Save").click()
        page.get_by_text("The rule is saved, and in force.").wait_for()
        delete(page, "Plain")


@pytest.fixture
def hostile(editing: Page) -> Iterator[Page]:
    """Make a rule with a hostile name and matcher, and a mistake in a hostile template."""
    page = editing
    page.get_by_label("Name", exact=True).fill(HOSTILE)
    page.get_by_label("Match", exact=True).fill(f"team!={HOSTILE}")
    page.get_by_label("checkout", exact=True).check()
    page.get_by_label("Summary", exact=True).fill("{{ " + HOSTILE)
    page.get_by_role("button", name="Save").click()
    page.locator("#match-help .fault").wait_for()
    page.get_by_label("Match", exact=True).fill('team!="<img src=x onerror=alert(3)>"')
    page.get_by_label("Summary", exact=True).fill(HOSTILE)
    page.get_by_role("button", name="Save").click()
    page.get_by_text("The rule is saved, and in force.").wait_for()
    yield page
    page.goto(f"{page.url.partition('/console')[0]}/console/rules")
    delete(page, HOSTILE)


def test_no_hostile_name_of_a_rule_runs_as_a_script(console: Console, hostile: Page) -> None:
    page = hostile
    page.get_by_role("link", name=HOSTILE).click()
    expect(page.locator("h1")).to_have_text(HOSTILE)
    for path in ("/console/rules", "/console/activity", "/console/alerts/try", "/console/"):
        page.goto(f"{console.url}{path}")
    page.goto(f"{console.url}/console/alerts/try")
    page.get_by_role("button", name="Explain").click()
    page.get_by_text(HOSTILE).first.wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_of_rules_are_accessible_and_fit_every_width(
    console: Console, hostile: Page, scheme: str
) -> None:
    page = hostile
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    check_everyone_can_read(page)
    page.get_by_role("link", name=HOSTILE).click()
    check_everyone_can_read(page)
    page.get_by_label("Summary", exact=True).fill("{{ oops")
    page.get_by_role("button", name="Save").click()
    page.locator(".fault").first.wait_for()
    check_everyone_can_read(page)
    page.goto(f"{console.url}/console/rules/new")
    check_everyone_can_read(page)
