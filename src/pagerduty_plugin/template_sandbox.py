"""Compiles, checks and renders templates in Jinja2's sandbox. Pure.

The author of a template is trusted; the alert is not. A template sees only JSON: an attribute is a
member of a mapping, and a call is one of `METHODS` or ``range``.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Final, TypeVar

from jinja2 import (
    ChainableUndefined,
    Template,
    TemplateSyntaxError,
    UndefinedError,
    nodes,
    pass_context,
)
from jinja2 import filters as jinja_filters
from jinja2 import tests as jinja_tests
from jinja2.runtime import Context, LoopContext, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from hostspec import Json
from pagerduty_plugin import template_check
from pagerduty_plugin.templates import NAMES, TemplateError

T = TypeVar("T")
_Function = Callable[..., Any]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


LONGEST_TEMPLATE: Final = 10_000
"""Characters of a template."""

LONGEST_TEXT: Final = 1_000_000
"""Characters of a text that ``join`` or ``replace`` makes."""

WIDEST_INTEGER: Final = 1024
"""Bits of an integer that an operator makes: as many as an alert's may have."""

LONGEST_RANGE: Final = 100_000
"""Numbers of a ``range``."""

MOST_ITEMS: Final = 100_000
"""Items that the loops and filters of one rendering go through; see `_Context`."""

_RESULT: Final = "result"

_OF_TEXT: Final = _words(
    "capitalize indent lower replace string title trim truncate upper urlencode wordwrap "
    ".capitalize .endswith .lower .replace .split .startswith .strip .title .upper"
)
_OF_MAPPING: Final = _words("dictsort items .get .items .keys .values")
_OF_NULL: Final = _words("d default float int tojson")
_NOT_COUNTED: Final = _words("count d default first last length truncate .get")


class _Context(Context):
    """Counts the items of one rendering.

    The lists of an alert may be far longer than the author of the template expects: without a
    limit, nested loops over them would delay all other alerts.
    """

    _count = 0

    def count(self, value: Any, at_once: int = 1) -> None:
        """Count the items of a list or mapping or the characters of a text, so many as one."""
        if isinstance(value, (str, list, tuple, Mapping)):
            self._count += len(value) // at_once
            _refuse(self._count, MOST_ITEMS, "goes through more than {:,} items")


def _refuse(size: int, most: int, reason: str) -> None:
    if size > most:
        raise TemplateError(reason.format(most))


def _refuse_longer(length: int) -> None:
    _refuse(length, LONGEST_TEXT, "makes a text of more than {:,} characters")


def _is_absent(value: Any) -> bool:
    return value is None or isinstance(value, Undefined)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if _is_absent(value) else _to_json(value)


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, default=_to_null)


def _to_null(value: Any) -> None:
    if not isinstance(value, Undefined):
        raise TypeError


# Filters and tests that differ from Jinja2's


def _default(value: Any, default_value: Any = "", boolean: Any = None) -> Any:
    absent = _is_absent(value) or value == ""
    return default_value if absent or (boolean and not value) else value


@pass_context
def _join(context: Context, value: Any, d: Any = "", attribute: str | int | None = None) -> str:
    if attribute is not None:
        value = map(jinja_filters.make_attrgetter(context.environment, attribute), value)
    texts, between = [_shown(item) for item in value], _shown(d)
    _refuse_longer(sum(map(len, texts)) + len(between) * len(texts))
    return between.join(texts)


def _replace(value: str, old: Any, new: Any, count: int = -1) -> str:
    old, new = _shown(old), _shown(new)
    times = value.count(old) if count < 0 else min(value.count(old), count)
    _refuse_longer(len(value) + times * (len(new) - len(old)))
    return value.replace(old, new, times)


def _of_numbers(function: _Function) -> _Function:
    """Wrap a function that would format or repeat a text: it rejects texts."""

    @functools.wraps(function)
    def run(value: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(value, (int, float)):
            raise TypeError
        return function(value, *args, **kwargs)

    return run


@pass_context
def _container(context: _Context, value: Any) -> Any:
    if not isinstance(value, Mapping):
        context.count(value, 10_000 if isinstance(value, str) else 100)
    return () if value is None else value


@pass_context
def _in(context: _Context, value: Any, seq: Any) -> bool:
    return value in _container(context, seq)


def _range(start: int, /, *limits: int) -> list[int]:
    numbers = range(start, *limits)
    _refuse(len(numbers), LONGEST_RANGE, "makes a range of more than {:,} numbers")
    return list(numbers)


_JINJA_FILTERS: Final = """
    abs capitalize count dictsort filesizeformat first float indent int items last length list
    lower map max min reject rejectattr reverse select selectattr sort sum title trim truncate
    unique upper urlencode wordwrap
"""
_JINJA_TESTS: Final = """
    != < <= == > >= boolean defined eq equalto false float ge greaterthan gt integer iterable le
    lessthan lower lt mapping ne none number sequence string true undefined upper
"""
_FILTERS_OF_JINJA: Final[Mapping[str, Any]] = jinja_filters.FILTERS
_TESTS_OF_JINJA: Final[Mapping[str, Any]] = jinja_tests.TESTS
FILTERS: Final[Mapping[str, _Function]] = {
    **{name: _FILTERS_OF_JINJA[name] for name in _JINJA_FILTERS.split()},
    "d": _default,
    "default": _default,
    "join": _join,
    "replace": _replace,
    "round": _of_numbers(_FILTERS_OF_JINJA["round"]),
    "string": lambda value: value,
    "tojson": _to_json,
}
TESTS: Final[Mapping[str, _Function]] = {
    **{name: _TESTS_OF_JINJA[name] for name in _JINJA_TESTS.split()},
    **{name: _of_numbers(_TESTS_OF_JINJA[name]) for name in ("divisibleby", "even", "odd")},
    "in": _in,
}
METHODS: Final[Mapping[str, _Function]] = {
    **{name: FILTERS[name] for name in _words("capitalize items lower replace title upper")},
    "endswith": lambda value, suffix: value.endswith(suffix),
    "get": lambda value, name, default=None: value.get(name, default),
    "keys": lambda value: list(value),  # noqa: PLW0108 -- list has no signature
    "split": lambda value, separator=None, most=-1: value.split(separator, most),
    "startswith": lambda value, prefix: value.startswith(prefix),
    "strip": FILTERS["trim"],
    "values": lambda value: list(value.values()),
}
FUNCTIONS: Final[Mapping[str, _Function]] = {"range": _range}
_KNOWN: Final = {"filter": FILTERS, "test": TESTS, "method": METHODS, "function": FUNCTIONS}


def _adapted(name: str, function: _Function) -> _Function:
    """Wrap a filter: convert its value and count the items; convert an iterator to a list."""
    passed = getattr(function, "jinja_pass_arg", None)

    @pass_context
    @functools.wraps(function)
    def run(context: _Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        value = _converted(context, name, value)
        if name not in _NOT_COUNTED:
            context.count(value, 100 if name in _OF_TEXT else 1)
        first = {"eval_context": context.eval_ctx, "environment": context.environment}
        leading = [first.get(passed.name, context)] if passed else []
        made = function(*leading, value, *args, **kwargs)
        if isinstance(made, str):
            context.count(made, 100)
        return list(made) if isinstance(made, Iterator) else made

    return run


def _converted(context: Context, name: str, value: Any) -> Any:
    if name in _OF_TEXT:
        return _shown(value)
    if name in _OF_MAPPING:
        return {} if _is_absent(value) else value
    if name in _OF_NULL:
        return None if isinstance(value, Undefined) else value
    return context.environment.undefined() if value is None else value


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja2's immutable sandbox, where an attribute is a member of JSON."""

    context_class = _Context
    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self) -> None:
        super().__init__(undefined=ChainableUndefined, finalize=_shown)
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
        _refuse(bits, WIDEST_INTEGER, "makes a number of more than {:,} bits")


@functools.cache
def _environment() -> _Environment:
    environment = _Environment()
    functions: dict[str, _Function] = {
        **FILTERS,
        **{f".{name}": function for name, function in METHODS.items()},
        "~": lambda values: "".join(map(_shown, values)),
        "for": _FILTERS_OF_JINJA["list"],
    }
    environment.filters = {name: _adapted(name, each) for name, each in functions.items()}
    environment.filters["in"] = _container
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
    _refuse(len(text), LONGEST_TEMPLATE, f"is {len(text):,} characters long; the limit is {{:,}}")
    try:
        found = template_check.faults(_environment(), text, names, _KNOWN)
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
        return _run(text, template, lambda: _shown(_value(template, values)))[:most].strip()
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
    if _is_absent(value) or isinstance(value, str):
        return None
    shown = _to_json(value)
    _refuse(len(shown), most, "makes a value of more than {:,} characters")
    plain: Json = json.loads(shown)  # absent values become null
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
            _refuse_longer(blanks)
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
