"""The configuration file as it was read, and where in it a fault is."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import attrs

from alerthost.config.locate import line_of
from hostspec.errors import Fault, FaultsError


class ConfigurationError(FaultsError):
    """A configuration that is refused; each fault's path is the place, as people call it."""


def refuse(path: str, reason: str) -> NoReturn:
    """Refuse for one reason.

    Raises:
        ConfigurationError: always.
    """
    raise ConfigurationError([Fault(path, reason)]) from None


_TABLE: Final = re.compile(r"(installations|rules)\[(\d+)\]\.?")


@attrs.frozen
class Source:
    """A configuration file that was read.

    Attributes:
        name: of the file.
        text: what it says.
        document: the same, parsed.
    """

    name: str
    text: str = attrs.field(repr=False)
    document: Mapping[str, Any] = attrs.field(repr=False)

    @property
    def folder(self) -> Path:
        """The folder that the file is in, and that what it names is relative to."""
        return Path(self.name).parent

    @classmethod
    def read(cls, path: Path) -> Source:
        """Read a file.

        Raises:
            ConfigurationError: it cannot be read, or is not valid TOML.
        """
        name = str(path)
        try:
            text = path.read_text(encoding="utf-8-sig")
            return cls(name, text, tomllib.loads(text))
        except FileNotFoundError:
            reason = "there is no such file; `alerthost init` writes one, --config names another"
        except OSError as error:
            reason = f"cannot be read: {error.strerror}"
        except UnicodeDecodeError as error:
            reason = f"is not UTF-8 text: byte {error.start} is wrong"
        except tomllib.TOMLDecodeError as error:
            reason = f"is not valid TOML: {error}"
        raise ConfigurationError([Fault(name, reason)])

    def refuse(self, faults: Iterable[Fault]) -> NoReturn:
        """Refuse the file, each fault with its place as people call it, and its line if known.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(map(self.placed, faults)) from None

    def place_of(self, path: str) -> str:
        """Return the file, and the line that a path of the document speaks of, if known."""
        line = line_of(self.text, path)
        return f"{self.name}, line {line}" if line else self.name

    def placed(self, fault: Fault) -> Fault:
        """Tell a fault of the document with its place."""
        places = [self.place_of(fault.path)]
        rest = fault.path
        table = _TABLE.match(rest)
        if table:
            kind, index = table[1], int(table[2])
            entry = self.document[kind][index]
            name = entry.get("name") if isinstance(entry, Mapping) else None
            places.append(f"{kind[:-1]} {name!r}" if name else f"{kind[:-1]} {index + 1}")
            rest = rest[table.end() :]
        if rest:
            places.append(rest)
        return Fault(": ".join(places), fault.reason)
