"""Renders what a rule says about an event: texts, severity and dedup key. Pure."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from hostspec import Alert, Image, Json, Link, Repair, Severity, Status
from hostspec.alert import FieldReader
from hostspec.normalisation import FrozenDict, normalise
from hostspec.text import clean_text, is_blank, shorten
from pagerduty_plugin import event, templates
from pagerduty_plugin.constants import ALERT_KEY, DEFAULT_SEVERITY, RULE_AND_ALERT_KEY, SEVERITIES
from pagerduty_plugin.dedup_keys import dedup_key, prefixed_dedup_key
from pagerduty_plugin.settings import ChangeSettings, ImageSettings, LinkSettings, TriggerSettings

LONGEST_TEXT: Final = 65_536
"""Characters of a rendered text; PagerDuty's own limits are smaller, and cuts to them reported."""

_USES_ALERT: Final = "the alert's is used instead"
_LEFT_OUT: Final = "left out"
_TOO_LONG: Final = f"renders to more than {LONGEST_TEXT:,} characters"


class EventText:
    """Renders a rule's texts for one alert; `notes` reports failures."""

    def __init__(self, alert: Alert, *, rule: str, service: str, installation: str) -> None:
        self._alert = alert
        self._about = {"rule": rule, "service": service, "installation": installation}
        self.notes: list[str] = []

    def trigger(self, settings: TriggerSettings) -> event.TextOverrides:
        """Return the texts of a trigger."""
        return event.TextOverrides(
            summary=self._text("summary", settings.summary),
            source=self._text("source", settings.source),
            component=self._text("component", settings.component),
            group=self._text("group", settings.group),
            class_=self._text("class", settings.class_),
            client=self._text("client", settings.client, _LEFT_OUT),
            client_url=self._address("client_url", settings.client_url, _USES_ALERT),
            details=FrozenDict(self._table("details", settings.details)),
            links=tuple(self._links(settings.links)),
            images=tuple(self._images(settings.images)),
        )

    def change(self, settings: ChangeSettings) -> event.TextOverrides:
        """Return the texts of a change event."""
        return event.TextOverrides(
            summary=self._text("summary", settings.summary),
            source=self._text("source", settings.source),
            details=FrozenDict(self._table("details", settings.details)),
            links=tuple(self._links(settings.links)),
        )

    def severity(self, setting: str) -> tuple[Severity, tuple[Repair, ...]]:
        """Return the severity of a rule: fixed, the alert's, or rendered; with repairs."""
        if setting in SEVERITIES:
            return Severity(setting), ()
        rendered = ""
        if setting != DEFAULT_SEVERITY and self._alert.status is Status.FIRING:
            rendered = self._text("severity", setting)
        if not rendered:
            return self._alert.severity, ()
        reader = FieldReader()
        return reader.severity(rendered), reader.repairs

    def dedup_key(self, setting: str, prefix: str) -> tuple[str, tuple[Repair, ...]]:
        """Return the dedup key of a rule: by strategy, or rendered; with repairs."""
        if setting == RULE_AND_ALERT_KEY:
            rule = str(self._about["rule"])
            return dedup_key(self._alert.identity, prefix=prefix, rule=rule)
        if setting != ALERT_KEY:
            rendered = self._text("dedup_key", setting, "the alert's key is used instead")
            if rendered:
                return prefixed_dedup_key(rendered, prefix)
        return dedup_key(self._alert.identity, prefix=prefix)

    @functools.cached_property
    def _values(self) -> Mapping[str, Json]:
        return templates.values_of(self._alert, **self._about)

    def _text(
        self, field: str, text: str, fallback: str = _USES_ALERT, *, may_be_cut: bool = True
    ) -> str:
        rendered = self._render(field, text, fallback)
        if len(rendered) <= LONGEST_TEXT:
            return rendered
        self.notes.append(f"{field}: {_TOO_LONG}; {'cut' if may_be_cut else fallback}")
        return shorten(rendered, LONGEST_TEXT - 1) if may_be_cut else ""

    def _address(self, field: str, text: str, fallback: str = _LEFT_OUT) -> str:
        return self._text(field, text, fallback, may_be_cut=False)

    def _render(self, field: str, text: str, fallback: str) -> str:
        if is_blank(text):
            return ""
        reason = "renders to nothing"
        try:
            rendered = clean_text(templates.render(text, self._values, LONGEST_TEXT + 1)).strip()
        except templates.TemplateError as error:
            rendered, reason = "", str(error)
        if is_blank(rendered):
            self.notes.append(f"{field}: {reason}; {fallback}")
            return ""
        return rendered

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
