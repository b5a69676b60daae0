"""Runs the blocks of a page of the documentation, with a chat server for its examples."""

from __future__ import annotations

import configparser
import contextlib
import functools
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import pytest
import redises
from page_checks import check_arguments, check_requirements, check_target, load_configuration
from page_output import ADDRESS, ANY_ADDRESS, difference, without_errors
from programs import Program
from sybil import Document, Example, Region
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer
from sybil.region import Lexeme
from waiting import wait_until

from alerthost.ingest import json_alerts
from pagerduty_plugin.testing import FakePagerDuty

ROOT = Path(__file__).parents[2]

# what the pages call the folders that the test has instead of them
FOLDERS = ("/run/secrets", "/etc/alerthost", "/var/lib/alerthost", "/opt/alerthost", "/srv")
SPOOL = "/var/spool/alerthost"
GROUP = "alerts"

# where a fake, alerthost and others listen
LISTEN = "127.0.0.1:9095"
REDIS = "redis://127.0.0.1:6379"
APPLICATION = "127.0.0.1:8000"

_FENCES = FencedCodeBlockLexer(language=r"[^\n]+")
_FILE = re.compile(r"# (\w+\.\w+)\n")
_INCIDENT = re.compile(r"(?:the incident|an incident such as) \*(.+?)\*")
_DURATION = re.compile(r"\d+:\d\d:\d\d")
_EXIT = "--exit--"


@attrs.define
class Page:
    """Runs the blocks of one page, in their order, in one folder.

    - ``python`` runs in the page's namespace, unless its first line is a comment with a file's
      name: then it becomes that file, which later blocks import or run.
    - ``text`` right after it is its output.
    - ``toml`` is ``alerthost.toml``, unless its first line names another file. Without the table
      ``plugins`` it is added to ``alerthost.toml``.
    - ``json`` is one alert, or one on each line, and becomes ``alerts.jsonl``.
    - ``yaml`` is a file, which its first line names.
    - ``ini`` is a unit of systemd, and ``dockerfile`` a container file, whose programs exist.
    - ``crontab`` has variables and jobs; each job runs once, as cron would run it, and must
      succeed without output.
    - ``console`` holds commands, each after ``$``, and their output. Lines of the standard
      error are where they make the page clear: on a screen their place is not fixed.

    ``...`` in an output is any text. Where the text speaks of *the incident* with a summary in
    italics, the fake has it, or gets it soon.
    """

    folder: Path
    capsys: pytest.CaptureFixture[str]
    fake: FakePagerDuty
    address: str = ADDRESS
    listen: str = LISTEN
    redis: str = REDIS
    application: str = APPLICATION
    printed: str | None = None
    running: contextlib.ExitStack = attrs.field(factory=contextlib.ExitStack)

    def integrate(self, text: str) -> None:
        """Prepare a page about a program that hands its alerts over to ``alerthost``."""
        self.address = urlsplit(self.fake.url).netloc
        if "$ alerthost run" not in text:  # the page links to the one on clients
            self._start_alerthost()
        if REDIS in text:
            self.redis = self.running.enter_context(redises.running(self.folder))
        os.environ["CELERY_BROKER_URL"] = "filesystem://"
        for name in ("data_in", "control"):
            (self.folder / name).mkdir()
        (self.folder / "data_out").symlink_to(self.folder / "data_in")
        (self.folder / "shop").mkdir()

    def run(self, path: Path) -> int:
        """Run a page; return the number of its blocks."""
        examples = list(Document.parse(str(path), self._regions, self._incidents).examples())
        for example in examples:
            example.evaluate()
        return sum("language" in example.region.lexemes for example in examples)

    def _regions(self, document: Document) -> Iterator[Region]:
        evaluators = {
            "python": self._python,
            "text": self._text,
            "toml": self._toml,
            "json": self._json,
            "yaml": self._yaml,
            "ini": self._unit,
            "dockerfile": self._container,
            "crontab": self._crontab,
            "console": self._console,
        }
        for region in _FENCES(document):
            language = region.lexemes["language"]
            if not language.startswith("{"):  # a directive, which Sphinx runs
                region.parsed = region.lexemes["source"]
                region.evaluator = evaluators[language]
                yield region

    def _incidents(self, document: Document) -> Iterator[Region]:
        for found in _INCIDENT.finditer(document.text):
            yield Region(found.start(), found.end(), found[1], self._incident)

    def _incident(self, example: Example) -> None:
        """Wait until the fake has the incident; how long a command ran does not matter."""
        summary = _DURATION.sub("...", example.parsed)
        url = f"http://{self.address}/incidents"

        def is_open() -> bool:
            with urllib.request.urlopen(url) as answer:
                found = json.load(answer)["incidents"]
            return summary in [_DURATION.sub("...", each["summary"]) for each in found]

        wait_until(is_open, f"the incident {summary!r} at the fake")

    def _here(self, text: str) -> str:
        """Replace the folders and the ports of a page by those of the test."""
        for folder in FOLDERS:
            text = text.replace(folder, str(self.folder))
        text = text.replace(SPOOL, str(self.folder / "spool")).replace(REDIS, self.redis)
        text = text.replace(LISTEN, self.listen)
        return text.replace(ADDRESS, self.address).replace(APPLICATION, self.application)

    def _write_file(self, source: str) -> str | None:
        named = _FILE.match(source)
        if named:
            (self.folder / named[1]).write_text(source, encoding="utf-8")
        return named[1] if named else None

    def _python(self, example: Example) -> None:
        if self._write_file(self._here(example.parsed)):
            return
        self.capsys.readouterr()
        source = example.parsed
        example.parsed = Lexeme(self._here(source), source.offset, source.line_offset)
        PythonEvaluator()(example)
        self.printed = self.capsys.readouterr().out

    def _text(self, example: Example) -> str | None:
        if self.printed is None:  # an illustration, whose content is tested elsewhere
            return None
        printed, self.printed = self.printed, None
        return difference(example.parsed, printed)

    def _toml(self, example: Example) -> None:
        text = self._here(example.parsed)
        name = self._write_file(text)
        if name is None:
            path = self.folder / "alerthost.toml"
            if "[plugins]" not in text:
                text = path.read_text(encoding="utf-8") + text
            path.write_text(text, encoding="utf-8")
            if "chat" not in text:  # which needs what a later command installs
                load_configuration(path)
        else:
            tomllib.loads(text)

    def _json(self, example: Example) -> None:
        try:
            submissions = [json.loads(example.parsed)]
        except ValueError:
            submissions = [json.loads(line) for line in example.parsed.splitlines()]
        lines = [json.dumps(statement) for statement in submissions]
        for line in lines:
            parsed = json_alerts.parse_alert("", line)
            assert parsed.alert is not None
            assert not parsed.alert.repairs
        (self.folder / "alerts.jsonl").write_text("\n".join(lines), encoding="utf-8")

    def _yaml(self, example: Example) -> None:
        assert self._write_file(example.parsed)

    def _unit(self, example: Example) -> None:
        unit = configparser.ConfigParser(interpolation=None)
        unit.optionxform = str  # type: ignore[assignment,method-assign]
        unit.read_string(example.parsed)
        program, *arguments = shlex.split(unit["Service"]["ExecStart"])
        check_arguments(Path(program).name, arguments)
        if shutil.which("systemd-analyze"):
            file = self.folder / "alerthost.service"
            here = example.parsed.replace(program, str(self.folder / "bin" / "alerthost"))
            file.write_text(here, encoding="utf-8")
            subprocess.run(["systemd-analyze", "verify", str(file)], check=True)

    def _container(self, example: Example) -> None:
        for line in example.parsed.splitlines():
            instruction, _, rest = line.partition(" ")
            if instruction == "ENTRYPOINT":
                program, *arguments = json.loads(rest)
                check_arguments(program, arguments)
            elif rest.startswith("pip install "):
                packages = shlex.split(rest)[2:]
                check_requirements([package.replace("/src", ".") for package in packages])

    def _crontab(self, example: Example) -> None:
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        env = {"HOME": str(home), "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
        env["PYTHONPATH"] = os.environ["PYTHONPATH"]  # the tests may run on installed wheels
        for line in self._here(example.parsed).splitlines():
            if variable := re.fullmatch(r"(\w+) *= *(.*)", line):
                env[variable[1]] = variable[2]
            elif line:
                *_, job = line.split(maxsplit=5)
                assert not re.search(r"(?<!\\)%", job), f"cron ends the command at %: {line}"
                command = ["/bin/sh", "-c", job.replace(r"\%", "%")]
                ran = subprocess.run(
                    command, cwd=home, env=env, capture_output=True, text=True, check=False
                )
                assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", ""), line

    def _console(self, example: Example) -> str | None:
        assert example.parsed.startswith("$ ")
        blocks = [block.partition("\n") for block in f"\n{example.parsed}".split("\n$ ")[1:]]
        commands = [self._command(command) for command, _, _ in blocks]
        last = f'\nstatus=$?; echo "{_EXIT}$status" | tee /dev/stderr; (exit $status)\n'
        ran = subprocess.run(
            ["bash", "-c", last.join([*commands, ""])],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        printed = re.split(rf"{_EXIT}(\d+)\n", ran.stdout)
        if len(printed) != 2 * len(commands) + 1:
            return f"it ended early, and printed\n{ran.stdout}{ran.stderr}"
        reported = re.split(rf"{_EXIT}\d+\n", ran.stderr)
        asked = [command.startswith("echo $?") for command in [*commands[1:], ""]]
        for (command, _, wanted), got, errors, status, answers in zip(
            blocks, printed[::2], reported, printed[1::2], asked, strict=False
        ):
            if status != "0" and not answers:
                return f"$ {command}\nexits with {status} and prints\n{got}{errors}"
            if differs := difference(*without_errors(self._here(wanted), got, errors)):
                return f"$ {command}\n{differs}"
        return None

    def _command(self, command: str) -> str:
        """Return the command to run; ``pip install`` is checked, or replaced."""
        match shlex.split(command, comments=True):
            case ["make", target]:
                check_target(target)
                return "alerthost demo" if target == "demo" else "true"
            case ["python3", "-m", "venv", _] | ["groupadd" | "useradd" | "usermod", *_]:
                return "true"  # one takes long, the others need root
            case ["chgrp" | "install", *_]:
                return self._here(command.replace(f" {GROUP} ", f" {os.getgid()} "))
            case [program, "install", *requirements] if Path(program).name == "pip":
                if requirements == ["."] and (self.folder / "pyproject.toml").exists():
                    self._install()
                else:
                    check_requirements(requirements)
                return "true"
            case ["alerthost", "run", *options]:
                return self._start_alerthost(*map(self._here, options))
            case [*_, "&"]:
                self._start(command.removesuffix("&"))
                return "true"
            case ["export", *variables]:
                for name, _, value in (self._here(each).partition("=") for each in variables):
                    os.environ[name] = os.path.expandvars(value)
            case ["gunicorn" | "uvicorn" as server, *arguments]:
                return self._start_application(server, arguments)
            case [fake, "--port", port, *options] if Path(fake).name == "fake-pagerduty":
                assert ADDRESS.endswith(f":{port}")
                return self._start_fake(*options)
        return self._here(command)

    def _install(self) -> None:
        """Build the wheel of the folder, and unpack it on Python's path."""
        files = [path for path in sorted(self.folder.iterdir()) if path.suffix in {".py", ".toml"}]
        wheel = _wheel(tuple((path.name, path.read_text(encoding="utf-8")) for path in files))
        zipfile.ZipFile(io.BytesIO(wheel)).extractall(self.folder / "site")

    def _start_alerthost(self, *options: str) -> str:
        """Start the command on a free port; return a command that prints its log."""
        file = self.folder / "alerthost.toml"
        if not file.exists():  # the page builds on the one on clients
            page = (ROOT / "docs/client.md").read_text(encoding="utf-8")
            block = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
            assert block
            file.write_text(self._here(block[1]).replace(self.listen, LISTEN), encoding="utf-8")
        text = file.read_text(encoding="utf-8")
        assert LISTEN in text
        text = text.replace(LISTEN, "127.0.0.1:0").replace(ADDRESS, self.address)
        file.write_text(text, encoding="utf-8")
        process = subprocess.Popen(
            ["alerthost", "run", *options], cwd=self.folder, stderr=subprocess.PIPE, text=True
        )
        self.running.enter_context(process)
        self.running.callback(process.terminate)
        assert process.stderr
        first = process.stderr.readline().strip()
        self.listen = ANY_ADDRESS.findall(first)[0]
        return f"echo {shlex.quote(first)}"

    def _start(self, command: str) -> None:
        """Start a program that runs until the end of the page."""
        self.running.enter_context(Program(["bash", "-c", f"exec {command}"], self.folder))

    def _start_application(self, server: str, arguments: list[str]) -> str:
        """Start an application on a free port; return a command that prints its address."""
        port = APPLICATION.rpartition(":")[2]
        command = [server, *(each.replace(port, "0") for each in arguments)]
        program = Program(command, self.folder)
        first = self.running.enter_context(program).wait_for("http://127.0.0.1:")
        self.application = ANY_ADDRESS.findall(first)[0]
        return f"echo {shlex.quote(first)}"

    def _start_fake(self, *options: str) -> str:
        """Start the command on a free port; return a command that prints its output."""
        command = ["fake-pagerduty", "--port", "0", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.running.enter_context(process)
        self.running.callback(process.terminate)
        assert process.stdout
        first = process.stdout.readline().strip()
        self.address = ANY_ADDRESS.findall(first)[0]
        return f"echo {shlex.quote(first)}"


@functools.cache
def _wheel(files: tuple[tuple[str, str], ...]) -> bytes:
    """Build the wheel of a project of these files."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files:
            Path(folder, name).write_text(text, encoding="utf-8")
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel"],
            cwd=folder,
            check=True,
            capture_output=True,
        )
        [wheel] = Path(folder, "dist").glob("*.whl")
        return wheel.read_bytes()
