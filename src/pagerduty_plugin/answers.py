"""What an extension may answer beside plain text: `Suppress` and `Enrich`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from hostspec import Image, Json, Link, Repair
from hostspec.alert import FieldReader
from hostspec.normalisation import FrozenDict


def _text(value: object) -> str:
    return FieldReader().text("reason", value)


@attrs.frozen
class Suppress:
    """Nobody is to be paged; the answer to ``pagerduty_services`` that stops a trigger.

    Attributes:
        reason: why, for the person who looks for the page; blank, it suppresses nothing.
    """

    reason: str = attrs.field(converter=_text)


@attrs.frozen(init=False)
class Enrich:
    """What an event carries beside the alert's own; the answer to ``pagerduty_enrich``.

    Anything is taken and made fit, as an alert's own fields are. That is done where the value
    is made, so that it counts towards the extension's deadline. Each change stands in
    ``repairs``.

    Attributes:
        details: for ``custom_details``, as JSON.
        links: a runbook, a dashboard.
        images: a graph; one that is not https becomes a link.
        repairs: what was changed to understand these.
    """

    details: Mapping[str, Json]
    links: tuple[Link, ...]
    images: tuple[Image, ...]
    repairs: tuple[Repair, ...]

    def __init__(
        self,
        *,
        details: Mapping[str, object] | None = None,
        links: Sequence[Link | Mapping[str, object] | str] = (),
        images: Sequence[Image | Mapping[str, object] | str] = (),
    ) -> None:
        reader = FieldReader()
        fields: dict[str, Any] = {
            "details": FrozenDict(reader.details(details)),
            "links": reader.links(links),
            "images": reader.images(images),
        }
        self.__attrs_init__(  # pyright: ignore[reportAttributeAccessIssue]
            **fields, repairs=reader.repairs
        )
