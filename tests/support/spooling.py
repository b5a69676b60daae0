"""A program that hands numbered alerts to a client with a spool: see `test_killed_clients`.

Arguments: the URL, the spool, and the name of the process. For each number it fires or resolves one
of its problems, and prints the number when the call has returned. Children that it forks do the
same, and end with ``os._exit``.
"""

from __future__ import annotations

import os
import sys
from itertools import count

from alerthost_client import Client

PROBLEMS = 3
"""Problems of one process."""


def hand_over(client: Client, name: str, number: int) -> None:
    """Hand over the alert of a number, and print it."""
    key, summary = f"{name}/{number % PROBLEMS}", f"{name} {number}"
    if number // PROBLEMS % 2:
        client.resolve(key, summary=summary)
    else:
        client.fire(key, summary, severity="critical", labels={"team": "data"})
    os.write(1, f"{summary}\n".encode())


def main(url: str, spool: str, name: str) -> None:
    client = Client(url, spool=spool, raise_errors=True)
    for number in count():
        hand_over(client, name, number)
        sys.stdin.readline()  # one more
        if number % 5 == 4 and not os.fork():
            hand_over(client, f"{name}-{number}", 0)
            os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
