"""The ticket system itself, in memory."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import attrs


class UnknownTicketError(Exception):
    """No open ticket has this id."""


@attrs.define
class Ticket:
    """A ticket and its comments; the first comment opened it."""

    id: str
    queue: str
    comments: list[str]
    open: bool = True


class TicketSystem:
    """Tickets by id; each change is written to a journal first, if one is named.

    What the journal does not take (an ``OSError``) does not happen.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tickets: dict[str, Ticket] = {}

    @property
    def tickets(self) -> list[Ticket]:
        """All tickets, including closed ones, in the order of opening."""
        with self._lock:
            return list(self._tickets.values())

    def create(self, queue: str, text: str, journal: str) -> str:
        """Open a ticket, and return its new id."""
        with self._lock:
            ticket = Ticket(f"T-{len(self._tickets) + 1}", queue, [text])
            _write(journal, "created", ticket, text)
            self._tickets[ticket.id] = ticket
            return ticket.id

    def comment(self, ticket_id: str, text: str, journal: str) -> None:
        """Add to an open ticket."""
        with self._lock:
            ticket = self._open(ticket_id)
            _write(journal, "commented", ticket, text)
            ticket.comments.append(text)

    def close(self, ticket_id: str, journal: str) -> None:
        """Close an open ticket."""
        with self._lock:
            ticket = self._open(ticket_id)
            _write(journal, "closed", ticket, "")
            ticket.open = False

    def _open(self, ticket_id: str) -> Ticket:
        ticket = self._tickets.get(ticket_id)
        if ticket is None or not ticket.open:
            raise UnknownTicketError(ticket_id)
        return ticket


def _write(journal: str, change: str, ticket: Ticket, text: str) -> None:
    if journal:
        line = json.dumps([change, ticket.id, ticket.queue, text])
        with Path(journal).open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
