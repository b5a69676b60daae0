"""Breaks every hook of PagerDuty's, in the way that the alert's label ``sabotage`` names."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final

from hostspec import Alert, hookimpl

SECRET: Final = "hunter2hunter2hunter2hunter2hunt"

released: Final = threading.Event()
"""Ends every hang; who lets it hang sets this in the end."""


class UtterError(BaseException):
    """An error of a kind that nobody expects."""


class Proxy:
    """Looks like whatever it is asked to be, and fails as it is looked at."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise RuntimeError(SECRET)


class Text(str):
    """A text that fails whatever is done with it."""

    __slots__ = ()

    def _fail(self, *_: object) -> Any:
        raise RuntimeError(SECRET)

    __str__ = __repr__ = __len__ = __iter__ = __format__ = _fail
    __eq__ = __contains__ = strip = isascii = encode = _fail
    __hash__ = str.__hash__


class Names(list[str]):
    """A list that fails as it is read."""

    def __iter__(self) -> Iterator[str]:
        raise SystemExit(SECRET)


class NoMapping(Mapping[str, Any]):
    """An object that fails as it is read."""

    def __getitem__(self, name: str) -> Any:
        raise RuntimeError(SECRET)

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError(SECRET)

    def __len__(self) -> int:
        raise RuntimeError(SECRET)


def raising(error: BaseException) -> Callable[[Alert], Any]:
    """Make a way that raises."""

    def sabotage(_: Alert) -> Any:
        raise error

    return sabotage


async def _coroutine() -> str:
    return "critical"


async def _agenerator() -> AsyncIterator[str]:
    yield "critical"


def _generator() -> Iterator[str]:
    yield "critical"


def hang(_: Alert) -> str:
    """Answer only when the test is over."""
    released.wait()
    return "info"


def change(alert: Alert) -> Any:
    """Change what it is given."""
    alert.details["owned"] = SECRET  # type: ignore[index]


FAILING: Final[Mapping[str, Callable[[Alert], Any]]] = {
    "Exception": raising(Exception(SECRET)),
    "AttributeError": raising(AttributeError(SECRET)),
    "SystemExit": raising(SystemExit(SECRET)),
    "KeyboardInterrupt": raising(KeyboardInterrupt(SECRET)),
    "GeneratorExit": raising(GeneratorExit(SECRET)),
    "StopIteration": raising(StopIteration(SECRET)),
    "RecursionError": raising(RecursionError(SECRET)),
    "MemoryError": raising(MemoryError(SECRET)),
    "UtterError": raising(UtterError(SECRET)),
    "BaseExceptionGroup": raising(BaseExceptionGroup(SECRET, [SystemExit(SECRET)])),
    "TypeError": change,
    "coroutine": lambda _: _coroutine(),
}
"""Ways that give no answer, by what is told of them."""

NONSENSE: Final[Mapping[str, Callable[[Alert], Any]]] = {
    "generator": lambda _: _generator(),
    "async_generator": lambda _: _agenerator(),
    "bool": lambda _: False,
    "int": lambda _: 7,
    "float": lambda _: float("nan"),
    "bytes": lambda _: SECRET.encode(),
    "dict": lambda _: {"severity": SECRET},
    "set": lambda _: {SECRET},
    "object": lambda _: object(),
    "type": lambda _: str,
    "Exception": lambda _: Exception(SECRET),
    "Alert": lambda alert: alert,
    "Proxy": lambda _: Proxy(),
    "Names": lambda _: Names(["checkout"]),
    "NoMapping": lambda _: NoMapping(),
}
"""Ways that answer what no hook may, by its type's name."""

WAYS: Final = {
    **{f"fail {name}": way for name, way in FAILING.items()},
    **{f"answer {name}": way for name, way in NONSENSE.items()},
    "text": lambda _: SECRET,
    "Text": lambda _: Text(SECRET),
    "blank": lambda _: " \t",
    "list of texts": lambda _: [SECRET],
    "list of nonsense": lambda _: ["checkout", 7],
    "list that holds itself": lambda _: _endless(),
    "hang": hang,
}


def _endless() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


def sabotage(alert: Alert) -> Any:
    """Do what the alert asks for; nothing where it asks for nothing."""
    return WAYS[alert.labels["sabotage"]](alert) if "sabotage" in alert.labels else None


@hookimpl
def pagerduty_severity(alert: Alert) -> Any:
    """Break."""
    return sabotage(alert)


@hookimpl
def pagerduty_dedup_key(alert: Alert) -> Any:
    """Break."""
    return sabotage(alert)


@hookimpl
def pagerduty_services(alert: Alert) -> Any:
    """Break."""
    return sabotage(alert)


@hookimpl
def pagerduty_enrich(alert: Alert) -> Any:
    """Break."""
    return sabotage(alert)
