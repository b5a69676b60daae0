"""What a rule says beside an alert, or in place of its words: its templates, rendered. Pure."""

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
from pagerduty_plugin.settings import ChangeSettings, ImageSettings, LinkSettings, TriggerSettings

LONGEST_TEXT: Final = 65_536
"""Characters of what a template says; PagerDuty's own limits, which are told, are smaller."""

_ALERTS: Final = "the alert's stands in its place"
_LEFT_OUT: Final = "left out"


@attrs.frozen(kw_only=True)
class Wording:
    """What an event says beside its alert, or in place of it where it is not empty.

    Attributes:
        summary: in place of the alert's.
        source: in place of the alert's.
        component: in place of the alert's.
        group: in place of the alert's.
        class_: in place of the alert's.
        client: what PagerDuty calls the host.
        client_url: in place of the alert's page.
        details: added; none of them takes the place of one that is there.
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


class Speaker:
    """Says a rule's texts of one alert; what could not be said gathers in `notes`."""

    def __init__(self, alert: Alert, *, rule: str, service: str, installation: str) -> None:
        self._alert = alert
        self._about = {"rule": rule, "service": service, "installation": installation}
        self.notes: list[str] = []

    def trigger(self, settings: TriggerSettings) -> Wording:
        """Say the texts of a trigger."""
        return Wording(
            summary=self._say("summary", settings.summary),
            source=self._say("source", settings.source),
            component=self._say("component", settings.component),
            group=self._say("group", settings.group),
            class_=self._say("class", settings.class_),
            client=self._say("client", settings.client, _LEFT_OUT),
            client_url=self._address("client_url", settings.client_url, _ALERTS),
            details=self._details(settings.details),
            links=tuple(self._links(settings.links)),
            images=tuple(self._images(settings.images)),
        )

    def change(self, settings: ChangeSettings) -> Wording:
        """Say the texts of a change event."""
        return Wording(
            summary=self._say("summary", settings.summary),
            source=self._say("source", settings.source),
            details=self._details(settings.details),
            links=tuple(self._links(settings.links)),
        )

    def severity(self, template: str) -> tuple[Severity, tuple[Repair, ...]]:
        """Render a severity; the alert's own where it comes to nothing."""
        rendered = self._say("severity", template)
        if not rendered:
            return self._alert.severity, ()
        reader = FieldReader()
        return reader.severity(rendered), reader.repairs

    def dedup_key(self, template: str) -> str:
        """Describe what makes one incident; empty where it comes to nothing."""
        return self._say("dedup_key", template, "the alert's key stands in its place")

    @functools.cached_property
    def _values(self) -> Mapping[str, Json]:
        return templates.values_of(self._alert, **self._about)

    def _say(self, field: str, text: str, instead: str = _ALERTS) -> str:
        said = self._render(field, text, instead)
        if len(said) <= LONGEST_TEXT:
            return said
        self.notes.append(f"{field}: comes to more than {LONGEST_TEXT:,} characters; cut")
        return shorten(said, LONGEST_TEXT - 1)

    def _address(self, field: str, text: str, instead: str = _LEFT_OUT) -> str:
        """Say an address, which leads nowhere when it is cut."""
        said = self._render(field, text, instead)
        if len(said) <= LONGEST_TEXT:
            return said
        self.notes.append(f"{field}: comes to more than {LONGEST_TEXT:,} characters; {instead}")
        return ""

    def _render(self, field: str, text: str, instead: str) -> str:
        if is_blank(text):
            return ""
        try:
            said = clean_text(templates.render(text, self._values, LONGEST_TEXT + 1)).strip()
        except templates.TemplateError as error:
            self.notes.append(f"{field}: {error}; {instead}")
            return ""
        if is_blank(said):
            self.notes.append(f"{field}: comes to nothing; {instead}")
            return ""
        return said

    def _details(self, details: Mapping[str, Json]) -> Mapping[str, Json]:
        return FrozenDict(self._table("details", details))

    def _table(self, field: str, table: Mapping[str, Json]) -> dict[str, Json]:
        values = {
            clean_text(name): self._detail(f"{field}.{name}", value)
            for name, value in table.items()
        }
        return {name: value for name, value in values.items() if value != ""}

    def _detail(self, field: str, value: Json) -> Json:
        """Render the texts of a value; empty where nothing can be said."""
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
        """Render a text; one that is a single expression keeps the type of its value."""
        try:
            value = templates.evaluate(text, self._values, LONGEST_TEXT)
        except templates.TemplateError as error:
            self.notes.append(f"{field}: {error}; {_LEFT_OUT}")
            return ""
        if value is None:
            return self._say(field, text, _LEFT_OUT)
        normalised, repairs = normalise(value, field)
        self.notes += [f"{repair.field}: {repair.reason}" for repair in repairs]
        return normalised

    def _links(self, links: Sequence[LinkSettings]) -> Iterator[Link]:
        for index, link in enumerate(links):
            if href := self._address(f"links[{index}].href", link.href):
                yield Link(href, self._say(f"links[{index}].text", link.text, _LEFT_OUT))

    def _images(self, images: Sequence[ImageSettings]) -> Iterator[Image]:
        for index, image in enumerate(images):
            if src := self._address(f"images[{index}].src", image.src):
                yield Image(
                    src,
                    href=self._address(f"images[{index}].href", image.href),
                    alt=self._say(f"images[{index}].alt", image.alt, _LEFT_OUT),
                )
