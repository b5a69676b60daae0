"""Parses a page with a form, as a browser does."""

from __future__ import annotations

from html.parser import HTMLParser

import attrs


@attrs.define
class Form(HTMLParser):
    """The form of a page: its action, its fields, and their values."""

    title: str = ""
    action: str = ""
    fields: list[tuple[str, str]] = attrs.field(factory=list)
    choices: list[str] = attrs.field(factory=list)
    text: str = ""
    tags: list[str] = attrs.field(factory=list)

    def __attrs_pre_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    @classmethod
    def of(cls, page: str) -> Form:
        """Parse a page."""
        form = cls()
        form.feed(page)
        form.close()
        return form

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            assert given["method"] == "post"
            self.action = given["action"]
        elif given.get("type") == "hidden":
            self.fields.append((given["name"], given["value"]))
        elif given.get("type") == "checkbox":
            assert given["name"] == "service"
            self.choices.append(given["value"])

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] == ["h1"] and not self.title:
            self.title = data
        self.text += data
