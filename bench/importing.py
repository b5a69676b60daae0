"""What importing the contract and loading the plugin cost, against importing requests."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys

from measuring import table

ROUNDS = 9
PROGRAMS = {
    "import hostspec": "import hostspec",
    "loading the plugin by its entry point": (
        "from hostspec.plugins import load; load(['pagerduty'])"
    ),
    "import requests": "import requests",
}
WATCHED = ("requests", "urllib3", "sqlalchemy", "jinja2", "click", "rich", "cryptography",
           "starlette", "asyncio")  # fmt: skip
IMPORT = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|")


def run(program: str) -> tuple[float, set[str]]:
    """Return the milliseconds of all imports beyond the interpreter's own, and the modules."""
    report = "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", program + report],
        capture_output=True,
        check=True,
        text=True,
    )
    spent = sum(int(found) for found in IMPORT.findall(ran.stderr)) / 1000
    return spent, {name.partition(".")[0] for name in json.loads(ran.stdout)}


def main() -> None:
    spent: dict[str, list[float]] = {name: [] for name in ("", *PROGRAMS)}
    modules: dict[str, set[str]] = {}
    for _ in range(ROUNDS):
        for name, program in {"": "pass", **PROGRAMS}.items():
            taken, modules[name] = run(program)
            spent[name].append(taken)
    nothing = statistics.median(spent.pop(""))
    rows = []
    for name, taken in spent.items():
        imported = [module for module in WATCHED if module in modules[name]]
        rows.append((name, f"{statistics.median(taken) - nothing:.0f}", ", ".join(imported) or "-"))
    table(
        f"Importing (python -X importtime, medians of {ROUNDS} rounds in turn)",
        ("", "ms", "of those watched, imported"),
        rows,
    )
    print(f"\n  watched: {', '.join(WATCHED)}")


if __name__ == "__main__":
    main()
