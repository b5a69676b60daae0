"""Signals that end a command: the first one lets it finish what is under way."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any, Final, Self

_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Those that a person, a supervisor and a closed terminal send; Windows has no third."""


class Interrupts:
    """Counts signals, instead of being ended by them; the second one is an interrupt.

    What was to be ignored is ignored, as `nohup` has it. In the main thread only.

    Attributes:
        count: how many came.
    """

    def __init__(self) -> None:
        self.count = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for each in _SIGNALS:
            if signal.getsignal(each) is not signal.SIG_IGN:
                self._before[each] = signal.signal(each, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 1:
            raise KeyboardInterrupt
