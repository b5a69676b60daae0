"""A browser of the console without scripts: it keeps cookies, and sends the forms of pages."""

from __future__ import annotations

from collections.abc import Mapping
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode, urljoin

import attrs
from bs4 import BeautifulSoup, Tag
from serving import Reply, ask

FORM = "application/x-www-form-urlencoded"


@attrs.frozen
class Page:
    """A page that was opened.

    Attributes:
        path: of its URL, after redirects.
        reply: the response.
    """

    path: str
    reply: Reply

    @property
    def status(self) -> int:
        """The status of the response."""
        return self.reply.status

    @property
    def html(self) -> BeautifulSoup:
        """The parsed page."""
        return BeautifulSoup(self.reply.body, "html.parser")

    @property
    def text(self) -> str:
        """The text of the page, with one blank between words."""
        return " ".join(self.html.get_text(" ").split())

    @property
    def title(self) -> str:
        """The text of its first heading."""
        heading = self.html.h1
        assert heading
        return " ".join(heading.get_text().split())

    def rows(self) -> list[list[str]]:
        """The cells of all rows of its tables, without headings."""
        return [
            [" ".join(cell.get_text(" ").split()) for cell in row.find_all("td")]
            for row in self.html.select("tbody tr")
        ]

    def buttons(self) -> list[str]:
        """The texts of its buttons, apart from the filter's and the frame's."""
        found = self.html.select("main button")
        return [each.get_text(strip=True) for each in found if each.get_text() != "Filter"]

    def form(self, button: str) -> tuple[str, dict[str, str]]:
        """The path and the fields of the form with a button."""
        (found,) = (
            form
            for form in self.html.find_all("form")
            if any(each.get_text(strip=True) == button for each in form.find_all("button"))
        )
        outside = self.html.select(f'[form="{found["id"]}"]') if found.get("id") else []
        fields = {
            str(each["name"]): _value(each)
            for each in [*found.select("[name]"), *outside]
            if each.get("type") not in {"checkbox", "radio"} or each.has_attr("checked")
            if each.name != "button"
        }
        pressed = next(each for each in found("button") if each.get_text(strip=True) == button)
        if pressed.get("name"):
            fields[str(pressed["name"])] = _value(pressed)
        return str(found["action"]), fields


def _value(field: Tag) -> str:
    if field.name == "textarea":
        return field.get_text()
    if field.name == "select":
        chosen = field.select_one("option[selected]") or field.option
        return str(chosen.get("value", chosen.get_text())) if chosen else ""
    return str(field.get("value", ""))


class Browser:
    """Opens pages of one host, as one person.

    Args:
        url: of the host.
        headers: of each request.
    """

    def __init__(self, url: str, **headers: str) -> None:
        self._url = url
        self._headers = headers
        self.cookies: dict[str, str] = {}
        self.page: Page

    def open(self, path: str) -> Page:
        """Open a page, and follow redirects."""
        return self._follow(path, self._ask("GET", path))

    def send(self, button: str, **changes: Any) -> Page:
        """Press a button of the page, after its fields are filled in."""
        path, fields = self.page.form(button)
        return self.post(path, {**fields, **changes})

    def post(self, path: str, fields: Mapping[str, str] | bytes) -> Page:
        """Send a form."""
        body = fields if isinstance(fields, bytes) else urlencode(fields).encode()
        return self._follow(path, self._ask("POST", path, body))

    def sign_in(self, token: str) -> Page:
        """Open the overview, and sign in."""
        self.open("/console/")
        return self.send("Sign in", token=token)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> Reply:
        headers = dict(self._headers)
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if method == "POST":
            headers.setdefault("Content-Type", FORM)
        reply = ask(self._url, method, path, body, headers)
        if "set-cookie" in reply.headers:
            found = SimpleCookie(reply.headers["set-cookie"])
            self.cookies |= {name: each.value for name, each in found.items()}
        return reply

    def _follow(self, path: str, reply: Reply) -> Page:
        while reply.status == 303:
            path = urljoin(path, reply.headers["location"])
            reply = self._ask("GET", path)
        self.page = Page(path, reply)
        return self.page
