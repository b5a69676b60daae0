"""Links and images in PagerDuty's form; unusable addresses become details. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from hostspec import Image, Json, Link
from hostspec.normalisation import Repairs
from hostspec.text import NO_CREDENTIALS, is_address, is_blank, shorten, without_credentials

LONGEST_QUOTE: Final = 80
"""Characters of an address that a repair quotes."""

NOT_HTTPS: Final = "PagerDuty takes images over https only; became a link"
"""The reason why an image became a link."""


class Addresses:
    """Separates absolute http(s) URLs, which open from anywhere, from other addresses.

    Alerts are read without this check: other providers may open other addresses, and templates
    and other plugins add addresses later.

    Each unusable address is repaired, and kept in `unusable`, as a member of the details.
    """

    def __init__(self, repairs: Repairs) -> None:
        self.unusable: dict[str, Json] = {}
        self._links: list[Mapping[str, Json]] = []
        self._images: list[Mapping[str, Json]] = []
        self._repairs = repairs

    def first(self, *named: tuple[str, str]) -> str:
        """Return the first usable address, or an empty text."""
        for name, address in named:
            usable, kept = self._check(name, address)
            if usable:
                return kept.strip()
            if not is_blank(kept):
                self.unusable[name] = kept
        return ""

    def links(self, links: Iterable[Link]) -> list[dict[str, Any]]:
        """Return the usable links in PagerDuty's form."""
        members = []
        for index, link in enumerate(links):
            usable, href = self._check(f"links[{index}].href", link.href)
            member = link_member(Link(href, link.text))
            if usable:
                members.append(member)
            else:
                self._links.append(member)
                self.unusable["links"] = self._links
        return members

    def images(self, images: Iterable[Image]) -> Iterator[tuple[int, Image]]:
        """Yield the usable images with their positions.

        If only the target of an image is unusable, that alone becomes a detail.
        """
        for index, image in enumerate(images):
            loads, src = self._check(f"images[{index}].src", image.src)
            opens, href = self._check(f"images[{index}].href", image.href)
            if not loads:
                self._images.append(present({"src": src, "href": href, "alt": image.alt}))
            elif not opens and not is_blank(href):
                self._images.append(present({"href": href}))
            if self._images:
                self.unusable["images"] = self._images
            if loads:
                yield index, Image(src, href if opens else "", image.alt)

    def _check(self, field: str, address: str) -> tuple[bool, str]:
        """Return whether an address is usable, and the address without user name and password."""
        kept = without_credentials(address)
        if kept != address:
            self._repairs.add(field, NO_CREDENTIALS)
        opens = is_address(kept.strip())
        if not opens and not is_blank(kept):
            shown = shorten(kept, LONGEST_QUOTE)
            reason = f"{shown!r} is not an absolute http(s) URL with a host; moved to the details"
            self._repairs.add(field, reason)
        return opens, kept


def link_member(link: Link) -> dict[str, Any]:
    """Return a link in PagerDuty's form."""
    return present({"href": link.href.strip(), "text": link.text})


def link_to(image: Image) -> dict[str, Any]:
    """Return a link, in PagerDuty's form, to an image that PagerDuty would not show."""
    return link_member(Link(image.src, image.alt))


def image_member(image: Image) -> dict[str, Any] | None:
    """Return an image in PagerDuty's form; None if it is not https."""
    scheme, separator, rest = image.src.strip().partition("://")
    if not separator or scheme.lower() != "https":
        return None
    return present({"src": f"https://{rest}", "href": image.href, "alt": image.alt})


def present(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members without blank texts and empty containers."""
    return {
        name: value
        for name, value in members.items()
        if (not is_blank(value) if isinstance(value, str) else value)
    }
