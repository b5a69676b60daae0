"""Compares the output that a page shows with the printed one."""

from __future__ import annotations

import doctest
import re

ADDRESS = "127.0.0.1:9911"
"""Where the pages have a fake PagerDuty."""

ANY_ADDRESS = re.compile(r"127\.0\.0\.1:\d+")

_CHECKER = doctest.OutputChecker()


def without_errors(wanted: str, got: str, errors: str) -> tuple[str, str]:
    """Remove the lines of the standard error from a page's output; return the printed ones.

    Lines that are missing on the page, or in another order, remain.
    """
    if not got:
        return wanted, errors
    left = errors.splitlines(keepends=True)
    rest = []
    for line in wanted.splitlines(keepends=True):
        if left and line.strip() != "..." and difference(line, left[0]) is None:
            del left[0]
        else:
            rest.append(line)
    return "".join(rest), got + "".join(left)


def difference(wanted: str, got: str) -> str | None:
    """Compare the output of a page with the printed one; return None if they agree."""
    wanted, got = _comparable(wanted), _comparable(got)
    any_lines = wanted.replace("\n...\n", "\n...")  # or none
    if _CHECKER.check_output(any_lines, got, doctest.ELLIPSIS):
        return None
    return f"the page shows\n{wanted}\nprinted was\n{got}"


def _comparable(text: str) -> str:
    """Leave out ports, how wide columns are, and the plugins of the tests.

    The last two depend on what else is installed.
    """
    text = re.sub(r"^\S+ +\S+ +hostspec-\w+ +disabled +not enabled\n", "", text, flags=re.MULTILINE)
    return re.sub(r"(?<=\S) {2,}", "  ", ANY_ADDRESS.sub(ADDRESS, text)).strip() + "\n"
