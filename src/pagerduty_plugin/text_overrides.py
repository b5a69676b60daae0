"""Renders the texts with which a rule replaces or extends those of an alert. Pure."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import attrs

from hostspec import Alert, Image, Json, Link, Repair, Severity
from hostspec.alert import FieldReader
from hostspec.normalisation import FrozenDict, normalise
from hostspec.text import clean_text, is_blank, shorten
from pagerduty_plugin import templates
from pagerduty_plugin.action_settings import (
    ChangeSettings,
    ImageSettings,
    LinkSettings,
    TriggerSettings,
)

LONGEST_TEXT: Final = 65_536
"""Characters of a rendered text; PagerDuty's own limits are smaller, and cuts to them reported."""

_USES_ALERT: Final = "the alert's is used instead"
_LEFT_OUT: Final = "left out"


@attrs.frozen(kw_only=True)
class TextOverrides:
    """The rendered texts of a rule; an empty one keeps the alert's.

    Attributes:
        summary: replaces the alert's.
        source: replaces the alert's.
        component: replaces the alert's.
        group: replaces the alert's.
        class_: replaces the alert's.
        client: the name of the monitoring program.
        client_url: replaces the alert's page.
        details: added under unique names.
        links: added, each with an address.
        images: added, each with an address.
    """

    summary: str = ""
    source: str = ""
    component: str = ""
    group: str = ""
    class_: str = ""
    client: str = ""
    client_url: str = ""
    details: Mapping[str, Json] = FrozenDict()
    links: tuple[Link, ...] = ()
    images: tuple[Image, ...] = ()


class EventText:
    """Renders a rule's texts for one alert; `notes` reports failures."""

    def __init__(self, alert: Alert, *, rule: str, service: str, installation: str) -> None:
        self._alert = alert
        self._about = {"rule": rule, "service": service, "installation": installation}
        self.notes: list[str] = []

    def trigger(self, settings: TriggerSettings) -> TextOverrides:
        """Return the texts of a trigger."""
        return TextOverrides(
            summary=self._text("summary", settings.summary),
            source=self._text("source", settings.source),
            component=self._text("component", settings.component),
            group=self._text("group", settings.group),
            class_=self._text("class", settings.class_),
            client=self._text("client", settings.client, _LEFT_OUT),
            client_url=self._address("client_url", settings.client_url, _USES_ALERT),
            details=self._details(settings.details),
            links=tuple(self._links(settings.links)),
            images=tuple(self._images(settings.images)),
        )

    def change(self, settings: ChangeSettings) -> TextOverrides:
        """Return the texts of a change event."""
        return TextOverrides(
            summary=self._text("summary", settings.summary),
            source=self._text("source", settings.source),
            details=self._details(settings.details),
            links=tuple(self._links(settings.links)),
        )

    def severity(self, template: str) -> tuple[Severity, tuple[Repair, ...]]:
        """Return a rendered severity; the alert's own if it is empty."""
        rendered = self._text("severity", template)
        if not rendered:
            return self._alert.severity, ()
        reader = FieldReader()
        return reader.severity(rendered), reader.repairs

    def dedup_key(self, template: str) -> str:
        """Return a rendered dedup key; empty if it renders to nothing."""
        return self._text("dedup_key", template, "the alert's key is used instead")

    @functools.cached_property
    def _values(self) -> Mapping[str, Json]:
        return templates.values_of(self._alert, **self._about)

    def _text(self, field: str, text: str, fallback: str = _USES_ALERT) -> str:
        rendered = self._render(field, text, fallback)
        if len(rendered) <= LONGEST_TEXT:
            return rendered
        self.notes.append(f"{field}: renders to more than {LONGEST_TEXT:,} characters; cut")
        return shorten(rendered, LONGEST_TEXT - 1)

    def _address(self, field: str, text: str, fallback: str = _LEFT_OUT) -> str:
        """Return a rendered address, which is never cut."""
        rendered = self._render(field, text, fallback)
        if len(rendered) <= LONGEST_TEXT:
            return rendered
        self.notes.append(f"{field}: renders to more than {LONGEST_TEXT:,} characters; {fallback}")
        return ""

    def _render(self, field: str, text: str, fallback: str) -> str:
        if is_blank(text):
            return ""
        try:
            rendered = clean_text(templates.render(text, self._values, LONGEST_TEXT + 1)).strip()
        except templates.TemplateError as error:
            self.notes.append(f"{field}: {error}; {fallback}")
            return ""
        if is_blank(rendered):
            self.notes.append(f"{field}: renders to nothing; {fallback}")
            return ""
        return rendered

    def _details(self, details: Mapping[str, Json]) -> Mapping[str, Json]:
        return FrozenDict(self._table("details", details))

    def _table(self, field: str, table: Mapping[str, Json]) -> dict[str, Json]:
        values = {
            clean_text(name): self._detail(f"{field}.{name}", value)
            for name, value in table.items()
        }
        return {name: value for name, value in values.items() if value != ""}

    def _detail(self, field: str, value: Json) -> Json:
        """Render the texts of a value; one that fails becomes an empty text."""
        match value:
            case str():
                return self._value(field, value)
            case Mapping():
                return self._table(field, value)
            case tuple():
                values = [self._detail(f"{field}[{at}]", each) for at, each in enumerate(value)]
                return [each for each in values if each != ""]
        return value

    def _value(self, field: str, text: str) -> Json:
        """Render a text; a single expression keeps the type of its value."""
        try:
            value = templates.evaluate(text, self._values, LONGEST_TEXT)
        except templates.TemplateError as error:
            self.notes.append(f"{field}: {error}; {_LEFT_OUT}")
            return ""
        if value is None:
            return self._text(field, text, _LEFT_OUT)
        normalised, repairs = normalise(value, field)
        self.notes += [f"{repair.field}: {repair.reason}" for repair in repairs]
        return normalised

    def _links(self, links: Sequence[LinkSettings]) -> Iterator[Link]:
        for index, link in enumerate(links):
            if href := self._address(f"links[{index}].href", link.href):
                yield Link(href, self._text(f"links[{index}].text", link.text, _LEFT_OUT))

    def _images(self, images: Sequence[ImageSettings]) -> Iterator[Image]:
        for index, image in enumerate(images):
            if src := self._address(f"images[{index}].src", image.src):
                yield Image(
                    src,
                    href=self._address(f"images[{index}].href", image.href),
                    alt=self._text(f"images[{index}].alt", image.alt, _LEFT_OUT),
                )
