"""Breaks every hook of PagerDuty's in the way named by the alert's label ``sabotage``."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final

from hostspec import Alert, hookimpl

SECRET: Final = "hunter2hunter2hunter2hunter2hunt"

released: Final = threading.Event()
"""Ends every hang; set at the end of a test that hangs."""


class UtterError(BaseException):
    """An unexpected kind of error."""


class Proxy:
    """Has every attribute, and fails when one is used."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise RuntimeError(SECRET)


class Text(str):
    """A text whose methods all fail."""

    __slots__ = ()

    def _fail(self, *_: object) -> Any:
        raise RuntimeError(SECRET)

    __str__ = __repr__ = __len__ = __iter__ = __format__ = _fail
    __eq__ = __contains__ = strip = isascii = encode = _fail
    __hash__ = str.__hash__


class Names(list[str]):
    """A list that fails when read."""

    def __iter__(self) -> Iterator[str]:
        raise SystemExit(SECRET)


class NoMapping(Mapping[str, Any]):
    """An object that fails when read."""

    def __getitem__(self, name: str) -> Any:
        raise RuntimeError(SECRET)

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError(SECRET)

    def __len__(self) -> int:
        raise RuntimeError(SECRET)


def raising(error: BaseException) -> Callable[[Alert], Any]:
    """Return a way that raises."""

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
    """Block until the test is over."""
    released.wait()
    return "info"


def change(alert: Alert) -> Any:
    """Change the arguments."""
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
"""Ways without an answer, by their reported error."""

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
"""Ways with an answer of a wrong type, by its name."""

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
    """Break in the way that the alert names, if any."""
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
