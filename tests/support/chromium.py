"""Runs Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest
from axe_playwright_python.sync_playwright import Axe
from debian import FETCHED, find_program
from playwright.sync_api import Browser, Locator, Page, sync_playwright
from serving import TOKEN, Process, post
from workspace import Workspace

LIBRARIES = (
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu/pulseaudio",
    "lib/x86_64-linux-gnu",
)
WIDTHS = (1440, 768, 375)
FONTS = """<fontconfig><dir>{fonts}</dir><dir>/usr/share/fonts</dir>
<alias binding="same"><family>system-ui</family><prefer><family>Inter</family></prefer></alias>
<cachedir>{cache}</cachedir></fontconfig>
"""


@attrs.frozen
class Console:
    """A console with a token, at an address."""

    workspace: Workspace
    process: Process
    url: str

    def post(self, *alerts: dict[str, object]) -> None:
        """Post alerts."""
        assert post(self.url, list(alerts), Authorization=f"Bearer {TOKEN}").status == 202

    def sign_in(self, page: Page, url: str = "") -> None:
        """Sign in as an operator; under another address, if one is given."""
        page.goto(f"{url or self.url}/")
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("heading", name="Overview").wait_for()


def check_everyone_can_read(page: Page) -> None:
    """Check that the page fits every width, and that axe finds nothing serious on it."""
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, page.url
        found = Axe().run(page)
        serious = [
            (each["id"], [node["html"] for node in each["nodes"]])
            for each in found.response["violations"]
            if each["impact"] in {"serious", "critical"}
        ]
        assert serious == [], (page.url, width)


def tab_to(page: Page, element: Locator) -> None:
    """Move the focus to an element by the Tab key alone; each stop on the way is seen."""
    for _ in range(80):
        page.keyboard.press("Tab")
        width = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
        assert width == "2px", page.evaluate("document.activeElement.outerHTML")
        if element.evaluate("element => element === document.activeElement"):
            return
    pytest.fail(f"{element} is not reached by the keyboard")


@contextmanager
def running(folder: Path) -> Iterator[Browser]:
    """Run Chromium in this block."""
    (folder / "fonts.conf").write_text(
        FONTS.format(fonts=FETCHED / "usr/share/fonts", cache=folder / "fonts"), encoding="utf-8"
    )
    libraries = [str(FETCHED / each) for each in LIBRARIES if (FETCHED / each).exists()]
    inherited = os.environ.get("LD_LIBRARY_PATH", "")
    env = {
        **os.environ,
        "FONTCONFIG_FILE": str(folder / "fonts.conf"),
        "LD_LIBRARY_PATH": ":".join(filter(None, (*libraries, inherited))),
    }
    executable = find_program(
        "Chromium",
        "chromium",
        "chromium-browser",
        fetched="usr/lib/chromium/chromium",
        variable="CHROMIUM",
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable,
            args=["--no-sandbox", "--disable-gpu"],  # it runs as root in containers
            env=env,
        )
        yield browser
        browser.close()
