"""Asks other plugins how to override an event, and applies their answers. Pure.

`pagerduty_plugin.hookspecs` defines which of several answers is used. No fault of another plugin
costs a page. Answers are checked by their exact type, as inspecting any other object could run
the other plugin's code.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeGuard

import attrs

from hostspec import Alert, Answer, Hooks, Image, Json, Severity, Status, Suppression
from hostspec.normalisation import Repairs
from hostspec.text import clean_text, shorten
from pagerduty_plugin import event
from pagerduty_plugin.addresses import NOT_HTTPS, Addresses, image_member, link_to
from pagerduty_plugin.constants import SEVERITIES
from pagerduty_plugin.hookspecs import Enrich, Suppress
from pagerduty_plugin.truncate import size

MOST_LISTED: Final = 5
"""Names that a note lists."""

LONGEST_NAME: Final = 80
"""Characters of a text that a note quotes."""

ROOM_FOR_CONTAINERS: Final = 64
"""Bytes of the containers of details, links and images, which an event may not have yet."""

_SECRET: Final = re.compile(r"[A-Za-z0-9]{32}|[\w+-]{20}")
"""Texts like an integration key or a REST API key, which may be returned by mistake."""

_SINGULAR: Final[Mapping[str, str]] = {"details": "detail", "links": "link", "images": "image"}


class NoHooks:
    """Hooks that no plugin implements."""

    def each(self, _name: str, /, **_arguments: object) -> Sequence[Answer]:
        """Return no answers."""
        return ()

    def reject(self, _name: str, _answer: Answer, _reason: str, /) -> None:
        """Do nothing: there are no answers."""


@attrs.frozen
class Addition:
    """The additions of one plugin."""

    plugin: str
    enrich: Enrich


@attrs.frozen(kw_only=True)
class Decision:
    """The routing of an event: by its rule, then as overridden by plugins.

    Attributes:
        dedup_key: without prefix, not shortened; empty for the rule's own.
        notes: which plugin set what, and which one failed.
        suppression: why no service is notified.
    """

    severity: Severity
    services: tuple[str, ...]
    dedup_key: str = ""
    additions: tuple[Addition, ...] = ()
    notes: tuple[str, ...] = ()
    suppression: Suppression | None = None


@attrs.frozen(kw_only=True)
class Question:
    """The arguments that all hooks share, the action's name, and the installation's services."""

    alert: Alert
    action: str
    installation: str
    rule: str
    services: tuple[str, ...]


def decide(hooks: Hooks, question: Question, default: Decision) -> Decision:
    """Ask every plugin, and return the rule's decision as overridden.

    For a status other than firing, only services and dedup key are asked, which find the open
    incident. A suppression counts for triggers only: a suppressed resolve would leave an incident
    open.
    """
    firing = question.alert.status is Status.FIRING
    round_ = _Round(hooks, question)
    chosen = round_.services(default.services)
    if isinstance(chosen, Suppression):
        return attrs.evolve(default, suppression=chosen)
    severity = round_.severity(default.severity) if firing else default.severity
    dedup_key = round_.dedup_key()
    additions = round_.additions(severity, chosen) if firing else ()
    return Decision(
        severity=severity,
        services=chosen,
        dedup_key=dedup_key,
        additions=additions,
        notes=tuple(round_.notes),
    )


class _Round:
    """One round of questions about one alert."""

    def __init__(self, hooks: Hooks, question: Question) -> None:
        self.notes: list[str] = []
        self._hooks = hooks
        self._question = question

    def services(self, default: tuple[str, ...]) -> tuple[str, ...] | Suppression:
        question = self._question
        known = tuple(dict.fromkeys((*question.services, *default)))
        answers = []
        suppressing: list[Answer] = []
        for answer in self._ask("pagerduty_services", services=known, chosen=default):
            if type(answer.value) is not Suppress:
                answers.append(answer)
            elif not answer.value.reason.strip():
                self._note(answer, "suppressed the trigger without a reason; ignored")
            elif question.alert.status is not Status.FIRING:
                self._note(answer, "suppressed a follow-up; ignored")
            else:
                suppressing.append(answer)
        if suppressing:
            return Suppression(
                question.action,
                question.installation,
                suppressing[0].value.reason,
                suppressing[0].plugin,
                (question.rule,) if question.rule else (),
                tuple(self.notes),
            )

        def read(answer: Answer) -> tuple[str, ...]:
            value = (answer.value,) if _is_text(answer.value) else answer.value
            if type(value) not in (list, tuple) or not all(map(_is_text, value)):
                self._reject("pagerduty_services", answer, "a tuple or list of names")
                return ()
            names = dict.fromkeys(name for name in map(clean_text, value) if name.strip())
            unknown = [_quoted(name) for name in names if name not in known]
            if unknown:
                self._note(answer, f"chose unknown services: {_listed(unknown)}")
            return tuple(name for name in names if name in known)

        return self._first("services", answers, read) or default

    def severity(self, default: Severity) -> Severity:
        answers = self._ask("pagerduty_severity", severity=event.SEVERITIES[default])
        expected = f"one of {', '.join(SEVERITIES)}"
        chosen = self._first_text("severity", answers, SEVERITIES.__contains__, expected)
        return Severity(chosen) if chosen else default

    def dedup_key(self) -> str:
        answers = self._ask("pagerduty_dedup_key")
        return self._first_text("dedup_key", answers, str.strip, "a text that is not blank")

    def additions(self, severity: Severity, services: tuple[str, ...]) -> tuple[Addition, ...]:
        additions = []
        shown = event.SEVERITIES[severity]
        for answer in self._ask("pagerduty_enrich", severity=shown, services=services):
            if type(answer.value) is Enrich:
                additions.append(Addition(answer.plugin, answer.value))
            else:
                self._reject("pagerduty_enrich", answer, "an Enrich")
        return tuple(additions)

    def _ask(self, hook: str, **arguments: object) -> Iterator[Answer]:
        """Yield the answers, and note the failures."""
        question = self._question
        for answer in self._hooks.each(
            hook,
            alert=question.alert,
            installation=question.installation,
            rule=question.rule,
            **arguments,
        ):
            if answer.failure:
                self.notes.append(f"plugin {answer.plugin}: {hook} {answer.failure}")
            else:
                yield answer

    def _first_text(
        self, name: str, answers: Iterable[Answer], is_valid: Callable[[str], object], expected: str
    ) -> str:
        """Return the first valid text, or an empty one."""

        def read(answer: Answer) -> tuple[str, ...]:
            text = clean_text(answer.value) if _is_text(answer.value) else ""
            if text and is_valid(text):
                return (text,)
            self._reject(f"pagerduty_{name}", answer, expected)
            return ()

        return next(iter(self._first(name.replace("_", " "), answers, read)), "")

    def _first(
        self, subject: str, answers: Iterable[Answer], read: Callable[[Answer], tuple[str, ...]]
    ) -> tuple[str, ...]:
        """Return the first valid answer, or nothing; note it and the answers that differ."""
        chosen: tuple[str, ...] = ()
        plugin = ""
        for answer in answers:
            value = read(answer)
            shown = f"{subject} {_listed([shorten(text, LONGEST_NAME) for text in value])}"
            if value and not chosen:
                chosen, plugin = value, answer.plugin
                self.notes.append(f"{shown} was set by plugin {plugin}")
            elif value and value != chosen:
                self._note(answer, f"set {shown}; ignored, as plugin {plugin} comes first")
        return chosen

    def _reject(self, hook: str, answer: Answer, expected: str) -> None:
        reason = f"answered {hook} with {_kind(answer.value)}, not with {expected}"
        self._hooks.reject(hook, answer, reason)
        self._note(answer, reason)

    def _note(self, answer: Answer, text: str) -> None:
        self.notes.append(f"plugin {answer.plugin} {text}")


def _is_text(value: object) -> TypeGuard[str]:
    # not isinstance, which reads __class__: a proxy's may run any code
    return issubclass(type(value), str)


def _kind(value: object) -> str:
    if not _is_text(value):
        return type(value).__name__
    return "another text" if clean_text(value).strip() else "a blank text"


def _quoted(text: str) -> str:
    return "a text like a key" if _SECRET.fullmatch(text) else repr(shorten(text, LONGEST_NAME))


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - MOST_LISTED
    return ", ".join(texts[:MOST_LISTED]) + (f" and {more} others" if more > 0 else "")


def enrich(message: Mapping[str, Json], additions: Sequence[Addition], room: int) -> event.Event:
    """Add as many additions to a message as there is room for, one by one.

    Nothing is removed from the message, which may have at most `room` bytes of UTF-8. Repairs say
    which additions were changed or left out, notes how much each plugin added.
    """
    enrichment = _Enrichment(message, room)
    for addition in additions:
        enrichment.add(addition.plugin, addition.enrich)
    return enrichment.result()


class _Enrichment:
    def __init__(self, message: Mapping[str, Any], room: int) -> None:
        self._repairs = Repairs()
        self._notes: list[str] = []
        self._message = message
        self._details = dict(message["payload"].get("custom_details", {}))
        self._lists = {name: list(message.get(name, ())) for name in ("links", "images")}
        self._free = room - size(message) - ROOM_FOR_CONTAINERS

    def result(self) -> event.Event:
        payload = self._message["payload"]
        if self._details:
            payload = {**payload, "custom_details": self._details}
        lists = {name: entries for name, entries in self._lists.items() if entries}
        message = {**self._message, "payload": payload, **lists}
        return event.Event(message, self._repairs.as_tuple(), tuple(self._notes))

    def add(self, plugin: str, enrich: Enrich) -> None:
        repairs = Repairs()
        addresses = Addresses(repairs)
        links = addresses.links(enrich.links)
        images = [image for _, image in addresses.images(enrich.images)]
        for repair in (*enrich.repairs, *repairs.as_tuple()):
            self._repairs.add(repair.field, f"{repair.reason} (from plugin {plugin})")
        added: Counter[str] = Counter()
        left_out: Counter[str] = Counter()
        for name, value in itertools.chain(enrich.details.items(), addresses.unusable.items()):
            unique = self._unique_name(name, plugin)
            fits = self._reserve({unique: value})
            (added if fits else left_out)["details"] += 1
            if fits:
                self._details[unique] = value
        members = [("links", link) for link in links]
        members += [self._image_or_link(image, plugin) for image in images]
        for name, member in members:
            fits = self._reserve(member)
            (added if fits else left_out)[name] += 1
            if fits:
                self._lists[name].append(member)
        for name, count in left_out.items():
            reason = f"no room for {_counted(name, count)} from plugin {plugin}; left out"
            self._repairs.add(name, reason)
        if added:
            counts = ", ".join(_counted(name, count) for name, count in added.items())
            self._notes.append(f"{counts} came from plugin {plugin}")

    def _reserve(self, member: Mapping[str, Any]) -> bool:
        """Reserve the bytes of a member of a list or an object, if there are enough."""
        needed = size(member) + 1  # with a comma
        if needed > self._free:
            return False
        self._free -= needed
        return True

    def _unique_name(self, name: str, plugin: str) -> str:
        unique = event.unique_detail(name, plugin, self._details, event.RESERVED)
        if unique != name:
            reason = f"the name is taken; the value from plugin {plugin} moved to {unique!r}"
            self._repairs.add(f"details.{name}", reason)
        return unique

    def _image_or_link(self, image: Image, plugin: str) -> tuple[str, dict[str, Any]]:
        member = image_member(image)
        if member:
            return "images", member
        self._repairs.add("images", f"{NOT_HTTPS} (from plugin {plugin})")
        return "links", link_to(image)


def _counted(name: str, count: int) -> str:
    return f"{count} {_SINGULAR[name] if count == 1 else name}"
