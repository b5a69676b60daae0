"""Faults: what a person has to mend, told all at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import attrs


@attrs.frozen
class Fault:
    """One thing that is wrong in what a person or program gave.

    Attributes:
        path: where, dotted (``services[1].integration_key``); empty for the whole.
        reason: what is wrong there and what would be right; never a secret.
    """

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.path else self.reason

    def below(self, path: str) -> Fault:
        """Tell the same fault from further out: ``path`` is put before its own."""
        if not self.path:
            return Fault(path, self.reason)
        joint = "" if self.path.startswith("[") else "."
        return Fault(f"{path}{joint}{self.path}", self.reason)


class FaultsError(ValueError):
    """Something was refused, and ``faults`` holds every reason."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(map(str, self.faults)))

    def __reduce__(self) -> tuple[type[Self], tuple[tuple[Fault, ...]]]:
        return type(self), (self.faults,)
