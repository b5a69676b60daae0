"""Access to the console, and the limits of foreign pages, viewers and old sessions."""

from __future__ import annotations

from http.cookies import SimpleCookie

import pytest
from browsing import FORM, Browser
from serving import TOKEN, Start, ask, measured, post
from waiting import wait_until
from workspace import CHECKOUT, PLATFORM, Workspace

from alerthost.console import access, app

WITH_TOKENS = 'token = "env:ALERTHOST_TOKEN"\nviewer_token = "env:VIEWER_TOKEN"'
VIEWER = "look-only"
ALERT = {"key": "db-1/disk", "severity": "critical", "labels": {"team": "data"}}
PAGES = [
    "/console/",
    "/console/incidents",
    "/console/incidents?state=orphaned",
    "/console/incidents?state=ended",
    "/console/incidents/1",
    "/console/deliveries",
    "/console/deliveries?state=blocked",
    "/console/deliveries/1",
    "/console/deliveries/all?operation=discard&state=queued",
    "/console/deliveries/progress?operation=discard&state=queued",
    "/console/alerts",
    "/console/alerts?outcome=unmatched",
    "/console/alerts/try",
    "/console/accounts",
    "/console/accounts/connect?provider=pagerduty",
    "/console/account/acme",
    "/console/rules",
    "/console/rules/new",
    "/console/plugins",
    "/console/activity",
]
CHANGES = [
    f"/console{path}".replace("{number:row}", "1").replace("{account}", "acme")
    for path in app.CHANGES
]


@pytest.fixture
def url(start: Start, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run with a token for operators and one for viewers."""
    monkeypatch.setenv("VIEWER_TOKEN", VIEWER)
    return start(http=WITH_TOKENS).url


@pytest.fixture
def open_url(start: Start) -> str:
    """Run without a token."""
    return start().url


def deliver(url: str, workspace: Workspace, **headers: str) -> None:
    """Post an alert, and wait until both its incidents are open."""
    assert post(url, ALERT, **headers).status == 202
    workspace.fake.wait_for(lambda fake: len(fake.incidents) == 2, 30)


@pytest.mark.parametrize("path", ["/", "/console", "/console/"])
def test_console_is_open_to_local_browsers_without_a_token(open_url: str, path: str) -> None:
    page = Browser(open_url).open(path)
    assert (page.status, page.path, page.title) == (200, "/console/", "Overview")
    assert "Open to this machine" in page.text


def test_foreign_host_is_rejected_without_a_token(open_url: str) -> None:
    page = Browser(open_url, Host="alerts.example").open("/console/")
    assert (page.status, page.title) == (403, "Not allowed")
    assert "the Host must be a loopback address" in page.text


@pytest.mark.parametrize("path", [*PAGES, "/console/sign-in", "/console/nothing", "/console"])
def test_each_page_forbids_scripts_of_others_frames_and_caches(open_url: str, path: str) -> None:
    headers = ask(open_url, "GET", path).headers
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"] == (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", PAGES)
def test_page_asks_to_sign_in_and_is_opened_then(url: str, workspace: Workspace, path: str) -> None:
    deliver(url, workspace, Authorization=f"Bearer {TOKEN}")
    browser = Browser(url)
    assert browser.open(path).title == "Sign in"
    page = browser.send("Sign in", token=TOKEN)
    assert (page.status, page.path) == (200, path)
    assert "Signed in as operator" in page.text
    assert browser.open("/console/sign-in").title == "Overview"


def test_session_is_a_cookie_that_scripts_and_other_sites_do_not_get(url: str) -> None:
    browser = Browser(url)
    browser.open("/console/")
    path, fields = browser.page.form("Sign in")
    before = dict(browser.cookies)
    browser.post(path, {**fields, "token": TOKEN})
    assert browser.cookies != before

    cookie = SimpleCookie(ask(url, "GET", "/console/sign-in").headers["set-cookie"])
    morsel = cookie[access.COOKIE]
    assert (morsel["path"], morsel["max-age"]) == ("/console", str(access.LASTS))
    assert (morsel["httponly"], morsel["samesite"], morsel["secure"]) == (True, "strict", "")


def test_nothing_on_the_sign_in_page_depends_on_a_token(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = Browser(url)
    _, fields = browser.open("/console/sign-in").form("Sign in")
    cookies = dict(browser.cookies)
    monkeypatch.setenv("ALERTHOST_TOKEN", "another")
    assert browser.open("/console/sign-in").form("Sign in")[1] == fields
    assert browser.cookies == cookies
    assert browser.send("Sign in", token="another").title == "Overview"


def test_cookie_is_sent_over_https_only_behind_https(start: Start) -> None:
    url = start(http='public_url = "https://alerts.example"').url
    cookie = SimpleCookie(ask(url, "GET", "/console/").headers["set-cookie"])
    assert cookie[access.COOKIE]["secure"] is True


def test_wrong_token_is_rejected(url: str) -> None:
    page = Browser(url).sign_in("guess")
    assert (page.status, page.title) == (401, "Sign in")
    assert "This is not the token of http.token or http.viewer_token." in page.text


def test_old_sign_in_page_is_replaced(url: str) -> None:
    browser = Browser(url)
    browser.open("/console/")
    browser.cookies.clear()
    page = browser.send("Sign in", token=TOKEN)
    assert (page.status, page.title) == (403, "Sign in")
    assert "This page is too old" in page.text
    assert browser.send("Sign in", token=TOKEN).title == "Overview"


def test_too_many_wrong_tokens_are_rejected_for_a_while(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = Browser(url)
    browser.open("/console/")
    for _ in range(access.MOST_ATTEMPTS):
        assert browser.send("Sign in", token="guess").status == 401
    page = browser.send("Sign in", token=TOKEN)
    assert (page.status, page.title) == (429, "Sign in")
    assert "Too many failed attempts; try again in 5 minutes." in page.text
    monkeypatch.setattr(access, "ATTEMPTS_WITHIN", 0.0)
    assert browser.send("Sign in", token=TOKEN).title == "Overview"


@pytest.mark.parametrize("asked", ["https://evil.example/", "//evil.example", "/metrics", ""])
def test_signing_in_leads_to_no_other_site(url: str, asked: str) -> None:
    browser = Browser(url)
    browser.open("/console/sign-in")
    assert browser.send("Sign in", token=TOKEN, next=asked).path == "/console/"


def test_person_signs_out(url: str) -> None:
    browser = Browser(url)
    browser.sign_in(TOKEN)
    assert browser.send("Sign out").title == "Sign in"
    assert browser.open("/console/").title == "Sign in"


def test_expired_session_has_to_sign_in_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = Browser(url)
    browser.sign_in(TOKEN)
    monkeypatch.setattr(access, "LASTS", -1)
    path, fields = browser.page.form("Sign out")
    assert browser.post(path, fields).status == 403
    assert browser.open("/console/").title == "Sign in"


def test_forged_session_is_no_session(url: str) -> None:
    browser = Browser(url)
    browser.sign_in(VIEWER)
    name = access.COOKIE
    payload, _, rest = browser.cookies[name].partition(".")
    browser.cookies[name] = f"{payload[:-2]}xx.{rest}"
    assert browser.open("/console/").title == "Sign in"


def test_changed_token_ends_all_sessions(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIEWER_TOKEN", VIEWER)
    url = start(http=WITH_TOKENS).url
    browser = Browser(url)
    browser.sign_in(VIEWER)
    monkeypatch.setenv("VIEWER_TOKEN", "another")
    assert browser.open("/console/").title == "Sign in"


def test_viewer_sees_everything_and_changes_nothing(url: str, workspace: Workspace) -> None:
    deliver(url, workspace, Authorization=f"Bearer {TOKEN}")
    browser = Browser(url)
    assert "Signed in as viewer" in browser.sign_in(VIEWER).text
    _, fields = browser.page.form("Sign out")
    for path in PAGES:
        page = browser.open(path)
        assert page.status == 200
        assert page.buttons() == (["Explain"] if path.endswith("/try") else [])
    for path in CHANGES:
        page = browser.post(path, fields)
        assert (page.status, page.title) == (403, "Not allowed")
        assert "sign in with http.token to change something" in page.text
    assert [each.state for each in workspace.fake.incidents] == ["triggered"] * 2
    assert post(url, ALERT, Authorization=f"Bearer {VIEWER}").status == 401


@pytest.mark.parametrize("path", CHANGES)
def test_form_without_the_token_of_its_session_is_rejected(open_url: str, path: str) -> None:
    browser, other = Browser(open_url), Browser(open_url)
    browser.open("/console/alerts/try")
    other.open("/console/alerts/try")
    _, stolen = other.page.form("Explain")
    for fields in ({}, {"csrf": ""}, {"csrf": stolen["csrf"]}):
        page = browser.post(path, fields)
        assert (page.status, page.title) == (403, "Not allowed")
        assert "another site sent this form" in page.text
    assert Browser(open_url).post(path, stolen).status == 403


@pytest.mark.parametrize("path", CHANGES)
def test_form_without_a_session_is_rejected(url: str, path: str) -> None:
    assert Browser(url).post(path, {}).status == 403


@pytest.mark.parametrize(
    ("body", "kind", "status", "reason"),
    [
        (b"a", FORM, 400, "The form cannot be read."),
        (b"a=%ff&csrf=%00", FORM, 403, "another site sent this form"),
        (b"a=\xff", FORM, 400, "The form cannot be read."),
        (b"&".join([b"a=b"] * 10_001), FORM, 400, "The form cannot be read."),
        (b"a=b", "text/plain", 415, "unsupported Content-Type"),
        (b"a=" + b"b" * 1024 * 1024, FORM, 413, "more than 1048576 bytes (of a form)"),
    ],
)
def test_malformed_form_is_rejected(
    open_url: str, body: bytes, kind: str, status: int, reason: str
) -> None:
    page = Browser(open_url, **{"Content-Type": kind}).post("/console/alerts/try", body)
    assert page.status == status
    assert reason in page.text


def test_unknown_pages_and_objects_are_not_found(open_url: str) -> None:
    browser = Browser(open_url)
    for path, reason in (
        ("/console/nothing", "There is no such page."),
        ("/console/static/nothing.js", "There is no such file."),
        ("/console/incidents/7", "There is no incident 7; it may have been pruned."),
        ("/console/deliveries/7", "There is no delivery 7."),
        (f"/console/deliveries/{'9' * 18}", f"There is no delivery {'9' * 18}."),
        (f"/console/deliveries/{'9' * 19}", "There is no such page."),
        (f"/console/incidents/{'9' * 5000}", "There is no such page."),
    ):
        page = browser.open(path)
        assert (page.status, page.title) == (404, "Not found")
        assert reason in page.text


def test_list_after_a_number_too_large_for_a_row_starts_at_its_beginning(open_url: str) -> None:
    page = Browser(open_url).open(f"/console/deliveries?after={'9' * 5000}")
    assert "Nothing was sent yet" in page.text


def test_static_files_are_cached_and_need_no_session(url: str) -> None:
    page = Browser(url).open("/console/sign-in")
    for each, kind in (
        (page.html.select_one("link[rel=stylesheet]"), "text/css; charset=utf-8"),
        (page.html.select_one("link[rel=icon]"), "image/svg+xml"),
    ):
        assert each
        reply = ask(url, "GET", str(each["href"]))
        assert (reply.status, reply.headers["content-type"]) == (200, kind)
        assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"


def test_console_can_be_turned_off(start: Start) -> None:
    url = start(http="console = false").url
    for path in ("/", "/console/", "/console/static/console.css"):
        page = Browser(url).open(path)
        assert (page.status, page.title) == (404, "Not found")
    assert post(url, ALERT).status == 202


def test_token_that_cannot_be_read_is_reported(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    browser = Browser(url)
    browser.open("/console/")
    monkeypatch.delenv("ALERTHOST_TOKEN")
    for page in (browser.open("/console/"), browser.post("/console/sign-in", {})):
        assert (page.status, page.title) == (503, "Not available now")
        assert "The token cannot be read by alerthost." in page.text
    wait_until(
        lambda: "http.token: the environment variable ALERTHOST_TOKEN" in caplog.text,
        "it is logged",
    )


def test_requests_and_rejections_are_counted(open_url: str) -> None:
    browser = Browser(open_url)
    browser.open("/console/")
    browser.open("/console/nothing")
    counts = measured(open_url)
    assert counts["alerthost_requests_total", "/console", "200"] == 1
    assert counts["alerthost_rejected_requests_total", "/console", "path", "404"] == 1


def test_no_page_cookie_log_or_activity_shows_a_secret(
    url: str, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    deliver(url, workspace, Authorization=f"Bearer {TOKEN}")
    browser = Browser(url)
    shown = [browser.sign_in(TOKEN).reply.body]
    for path in PAGES:
        page = browser.open(path)
        shown += [page.reply.body, repr(page.reply.headers).encode()]
    shown += [caplog.text.encode(), repr(browser.cookies).encode()]
    assert b"0123****************************" in b"".join(shown) or b"****" in b"".join(shown)
    for secret in (CHECKOUT, PLATFORM, TOKEN, VIEWER):
        assert not any(secret.encode() in each for each in shown)
