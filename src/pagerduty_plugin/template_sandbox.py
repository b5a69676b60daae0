"""Compiles, checks and renders templates in Jinja2's sandbox. Pure.

The author of a template is trusted; the alert is not. A template sees only JSON: an attribute is a
member of a mapping, and a call is one of `METHODS` or ``range``.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Final, TypeVar

from jinja2 import ChainableUndefined, Template, TemplateSyntaxError, UndefinedError, nodes
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from hostspec import Json
from pagerduty_plugin import template_check
from pagerduty_plugin.template_functions import (
    FILTERS,
    FUNCTIONS,
    KNOWN,
    METHODS,
    TESTS,
    CountingContext,
    Function,
    adapted,
    container,
    is_absent,
    refuse,
    refuse_longer,
    shown,
    to_json,
)
from pagerduty_plugin.templates import NAMES, TemplateError

T = TypeVar("T")

LONGEST_TEMPLATE: Final = 10_000
"""Characters of a template."""

WIDEST_INTEGER: Final = 1024
"""Bits of an integer that an operator makes: as many as an alert's may have."""

_RESULT: Final = "result"


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja2's immutable sandbox, where an attribute is a member of JSON."""

    context_class = CountingContext
    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self) -> None:
        super().__init__(undefined=ChainableUndefined, finalize=shown)
        self.globals = dict(FUNCTIONS)

    def getitem(self, obj: Any, argument: Any) -> Any:
        try:
            if isinstance(obj, LoopContext) and argument in template_check.LOOP:
                return getattr(obj, argument)
            return obj[argument]  # pyright: ignore[reportIndexIssue]
        except (LookupError, TypeError):
            return self.undefined()

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self.getitem(obj, attribute)

    def call_binop(
        self,
        context: Any,  # noqa: ARG002 -- Jinja2's signature
        operator: str,
        left: Any,
        right: Any,
    ) -> Any:
        """Calculate with numbers only: a text would be repeated or formatted; ``+`` also joins."""
        match left, right:
            case int() | float(), int() | float():
                if operator == "**" and isinstance(left, int) and isinstance(right, int):
                    self._refuse_wider((left.bit_length() - 1) * right)
            case (str(), str()) if operator == "+":
                pass
            case (list() | tuple(), list() | tuple()) if operator == "+":
                left, right = [*left], [*right]
            case _:
                raise TypeError
        made = self.binop_table[operator](left, right)
        if isinstance(made, int):
            self._refuse_wider(made.bit_length())
        return made

    @staticmethod
    def _refuse_wider(bits: int) -> None:
        refuse(bits, WIDEST_INTEGER, "makes a number of more than {:,} bits")


@functools.cache
def _environment() -> _Environment:
    environment = _Environment()
    functions: dict[str, Function] = {
        **FILTERS,
        **{f".{name}": function for name, function in METHODS.items()},
        "~": lambda values: "".join(map(shown, values)),
        "for": FILTERS["list"],
    }
    environment.filters = {name: adapted(name, each) for name, each in functions.items()}
    environment.filters["in"] = container
    environment.tests = dict(TESTS)
    return environment


class _Rewriter(NodeTransformer):
    """Turns methods, ``~``, ``in`` and the values of loops into filters that take any JSON."""

    def generic_visit(self, node: nodes.Node, *_args: Any, **_kwargs: Any) -> nodes.Node:
        super().generic_visit(node)
        match node:
            case nodes.Call(node=nodes.Getattr() as method):
                return _filter(f".{method.attr}", method.node, node.args, node.kwargs)
            case nodes.Concat():
                return _filter("~", nodes.List(node.nodes, lineno=node.lineno))
            case nodes.For():
                node.iter = _filter("for", node.iter)
            case nodes.Operand(op="in" | "notin"):
                node.expr = _filter("in", node.expr)
        return node


def _filter(name: str, node: Any, args: Any = (), kwargs: Any = ()) -> nodes.Filter:
    made = nodes.Filter(node, name, [*args], [*kwargs], None, None, lineno=node.lineno)
    made.set_environment(_environment())
    return made


@functools.lru_cache(maxsize=256)
def compiled(text: str, names: frozenset[str] = NAMES) -> tuple[Template, bool]:
    """Check and compile a template; the second value is whether it is a single expression.

    Raises:
        TemplateError: it has faults; the reason contains all of them.
    """
    refuse(len(text), LONGEST_TEMPLATE, f"is {len(text):,} characters long; the limit is {{:,}}")
    try:
        found = template_check.faults(_environment(), text, names, KNOWN)
        if not found:
            return _assembled(_environment().parse(text))
    except TemplateSyntaxError as error:
        found = [(error.lineno, (error.message or "").rstrip("."))]
    except RecursionError:
        found = [(1, template_check.TOO_DEEP)]
    except Exception:  # noqa: BLE001 -- Python's compiler has its own limits
        reason = "cannot be compiled: a number is too long, or an argument is given twice"
        found = [(1, reason)]
    raise TemplateError(_joined(text, found))


def _assembled(tree: nodes.Template) -> tuple[Template, bool]:
    parts = [part for node in tree.body for part in getattr(node, "nodes", [node])]
    blank = [isinstance(part, nodes.TemplateData) and not part.data.strip() for part in parts]
    match [part for part, is_blank in zip(parts, blank, strict=True) if not is_blank]:
        case [nodes.Expr() as value] if not isinstance(value, nodes.TemplateData):
            target = nodes.Name(_RESULT, "store", lineno=value.lineno)
            tree.body = [nodes.Assign(target, value, lineno=value.lineno)]
            single = True
        case _:
            single = False
    return _environment().from_string(_Rewriter().visit(tree)), single


def _joined(text: str, found: Iterable[tuple[int, str]]) -> str:
    several = "\n" in text.strip()
    return "; ".join(f"line {line}: {reason}" if several else reason for line, reason in found)


# Rendering


def render(text: str, values: Mapping[str, Json], most: int) -> str:
    """Render a template, see `pagerduty_plugin.templates.render`."""
    template, single = compiled(text)
    if single:
        return _run(text, template, lambda: shown(_value(template, values)))[:most].strip()
    return _run(text, template, lambda: _gathered(template, values, most))


def evaluate(text: str, values: Mapping[str, Json], most: int) -> Json:
    """Evaluate a template, see `pagerduty_plugin.templates.evaluate`."""
    template, single = compiled(text)
    return _run(text, template, lambda: _plain(template, values, most)) if single else None


def _value(template: Template, values: Mapping[str, Json]) -> Any:
    context = template.new_context(dict(values))
    list(template.root_render_func(context))
    return context.vars[_RESULT]


def _plain(template: Template, values: Mapping[str, Json], most: int) -> Json:
    value = _value(template, values)
    if is_absent(value) or isinstance(value, str):
        return None
    text = to_json(value)
    refuse(len(text), most, "makes a value of more than {:,} characters")
    plain: Json = json.loads(text)  # absent values become null
    return plain


def _gathered(template: Template, values: Mapping[str, Json], most: int) -> str:
    """Render a template until the result is long enough."""
    text, blanks = "", 0
    for piece in template.root_render_func(template.new_context(dict(values))):
        text += (piece if text else piece.lstrip())[: most - len(text)]
        if len(text) == most:
            break
        if not text:
            blanks += len(piece)
            refuse_longer(blanks)
    return text.rstrip()


def _run(text: str, template: Template, run: Callable[[], T]) -> T:
    try:
        return run()
    except Exception as error:  # noqa: BLE001 -- all failures of a template are reported alike
        found = (_line(template, error.__traceback__), _reason(error))
    raise TemplateError(_joined(text, [found]))  # without a cause, which would contain values


def _reason(error: Exception) -> str:
    match error:
        case TemplateError():
            return str(error)
        case ZeroDivisionError():
            return "divides by zero"
        case OverflowError():
            return "makes a number that is too large"
        case AttributeError() | TypeError() | UndefinedError():
            return "uses a missing value, or one of the wrong type"
    return "uses a value that does not fit"


def _line(template: Template, traceback: TracebackType | None) -> int:
    line = 1
    while traceback:
        if traceback.tb_frame.f_globals.get("__jinja_template__") is template:
            line = template.get_corresponding_lineno(traceback.tb_lineno)
        traceback = traceback.tb_next
    return line
