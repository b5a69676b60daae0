"""The in-process host: plans and sends without a database."""

from __future__ import annotations

from hostspec.inprocess.host import Host
from hostspec.inprocess.opening import open  # noqa: A004 -- the name is used with its module
from hostspec.inprocess.sending import Report, UndeliveredError

__all__ = ["Host", "Report", "UndeliveredError", "open"]
