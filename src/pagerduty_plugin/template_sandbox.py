"""The sandbox: compiles templates and renders them, within the bounds. Pure.

Templates see JSON alone. What looks like an attribute is a member of a mapping, what looks like
a call is one of our methods or functions, and whatever makes or reads a value goes through a
function that counts it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, TypeVar

from jinja2 import ChainableUndefined, Template, TemplateSyntaxError, nodes, pass_context
from jinja2.runtime import LoopContext, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from hostspec import Json
from pagerduty_plugin import template_check
from pagerduty_plugin.template_functions import (
    FILTERS,
    FUNCTIONS,
    METHODS,
    TESTS,
    LimitError,
    Work,
    calculate,
    made,
    searched,
    within_bounds,
)
from pagerduty_plugin.template_names import NAMES, TemplateError

T = TypeVar("T")

LONGEST_TEMPLATE: Final = 10_000
"""Characters of a template."""

MOST_TEMPLATES: Final = 256
"""Compiled templates that are kept."""


def fault(text: str, names: frozenset[str]) -> str | None:
    """Say what is wrong with a template; None where it works."""
    try:
        tree = _parsed(text)
        found = _attempted(text, lambda: template_check.faults(tree, names))
        if not found:
            _compiled(text)
    except TemplateError as error:
        return str(error)
    return _told(text, found) if found else None


def render(text: str, values: Mapping[str, Json], most: int) -> str:
    """Render a template, cut to so many characters, without blanks around it.

    Raises:
        TemplateError: no text can be made.
    """
    template = _compiled(text)
    return _run(text, template, lambda: _gathered(template, values, most))


def evaluate(text: str, values: Mapping[str, Json], most: int) -> Json:
    """Return the value of a template's only expression; None where that is a text or null.

    Raises:
        TemplateError: it fails, or its value comes to more than so many characters.
    """
    template = _expression(text)
    return _run(text, template, lambda: _value(template, values, most)) if template else None


def _run(text: str, template: Template, run: Callable[[], T]) -> T:
    try:
        return run()
    except Exception as error:  # noqa: BLE001 -- whatever a template does is told the same way
        reason = _reason(error)
        line = _line(template, error.__traceback__)
    raise TemplateError(_told(text, [(line, reason)]))  # with no cause, which would tell values


def _reason(error: Exception) -> str:
    match error:
        case LimitError():
            return str(error)
        case ZeroDivisionError():
            return "divides by zero"
        case OverflowError():
            return "makes a number that is too large"
        case TypeError():
            return "uses a missing value, or one of the wrong type"
    return "uses a value that does not fit"


def _value(template: Template, values: Mapping[str, Json], most: int) -> Json:
    work = template.new_context(dict(values))
    assert isinstance(work, Work)  # noqa: S101 -- the environment says so
    list(template.root_render_func(work))
    value = work.vars[_RESULT]
    if value is None or isinstance(value, (str, Undefined)):
        return None
    shown = work.json(value)
    if len(shown) > most:
        message = f"makes a value of more than {most:,} characters"
        raise LimitError(message)
    made: Json = json.loads(shown)  # absent values become null
    return made


def _gathered(template: Template, values: Mapping[str, Json], most: int) -> str:
    work = template.new_context(dict(values))
    assert isinstance(work, Work)  # noqa: S101 -- the environment says so
    text = ""
    for piece in template.root_render_func(work):
        work.spend(1 + min(len(piece), most) // 100)
        text = text + piece if text else piece.lstrip()
        if len(text) > most:
            if text[most:].strip():
                return text[:most]
            text = text[:most]
    return text.rstrip()


def _parsed(text: str) -> nodes.Template:
    if len(text) > LONGEST_TEMPLATE:
        reason = f"is {len(text):,} characters long, {LONGEST_TEMPLATE:,} is the most"
        raise TemplateError(reason)
    return _attempted(text, lambda: _environment().parse(text))


@functools.lru_cache(maxsize=MOST_TEMPLATES)
def _compiled(text: str) -> Template:
    """Compile a template; the same for all threads, for what changes is in the context.

    Raises:
        TemplateError: it does not work.
    """
    tree = _parsed(text)
    found = _attempted(text, lambda: template_check.faults(tree, NAMES))
    if found:
        raise TemplateError(_told(text, found))
    return _attempted(text, lambda: _prepared(tree))


_RESULT: Final = "result"
"""The variable of a compiled expression."""


@functools.lru_cache(maxsize=MOST_TEMPLATES)
def _expression(text: str) -> Template | None:
    """Compile the expression that a template consists of; None where it is more, or none."""
    tree = _parsed(text.strip())
    match tree.body:
        case [nodes.Output(nodes=[nodes.Expr() as expression])] if not isinstance(
            expression, nodes.TemplateData
        ):
            result = nodes.Name(_RESULT, "store", lineno=expression.lineno)
            tree.body = [nodes.Assign(result, expression, lineno=expression.lineno)]
        case _:
            return None
    found = _attempted(text, lambda: template_check.faults(tree, NAMES))
    if found:
        raise TemplateError(_told(text, found))
    return _attempted(text, lambda: _prepared(tree))


def _prepared(tree: nodes.Template) -> Template:
    _Counting().generic_visit(tree)
    return _environment().from_string(tree)


def _attempted(text: str, attempt: Callable[[], T]) -> T:
    try:
        return attempt()
    except TemplateSyntaxError as error:
        found = (error.lineno, (error.message or "").rstrip("."))
    except RecursionError:
        found = (1, "is nested too deeply")
    except Exception:  # noqa: BLE001 -- Python's compiler has limits of its own
        found = (1, "cannot be compiled: a number is too long, or an argument is given twice")
    raise TemplateError(_told(text, [found]))


def _told(text: str, found: Sequence[tuple[int, str]]) -> str:
    several = "\n" in text.strip()
    return "; ".join(f"line {line}: {reason}" if several else reason for line, reason in found)


def _line(template: Template, traceback: TracebackType | None) -> int:
    line = 1
    while traceback:
        if traceback.tb_frame.f_globals.get("__jinja_template__") is template:
            line = template.get_corresponding_lineno(traceback.tb_lineno)
        traceback = traceback.tb_next
    return line


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja2's immutable sandbox, with members of JSON in place of attributes."""

    context_class = Work
    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, LoopContext) and attribute in template_check.LOOP:
            return getattr(obj, attribute)
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        match obj, argument:
            case (Mapping(), str()) if argument in obj:
                return obj[argument]
            case (str() | list() | tuple(), int()) if -len(obj) <= argument < len(obj):
                return obj[argument]
        return self.undefined()

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        return calculate(context, operator, left, right)

    def is_safe_callable(self, obj: Any) -> bool:
        del obj
        return False


@functools.cache
def _environment() -> _Environment:
    # what takes the context is never done while a template is compiled, and so is counted
    environment = _Environment(undefined=ChainableUndefined, finalize=pass_context(_shown))
    environment.globals.clear()
    functions = {
        **FILTERS,
        **{f".{name}()": function for name, function in METHODS.items()},
        **{f"{name}()": function for name, function in FUNCTIONS.items()},
        **_INNER,
    }
    environment.filters = {name: within_bounds(each) for name, each in functions.items()}
    environment.tests = {name: within_bounds(each) for name, each in TESTS.items()}
    return environment


def _concatenated(work: Work, values: Sequence[Any]) -> str:
    return "".join([work.text(value) for value in values])


def _iterated(work: Work, value: Any, within: int) -> list[Any]:
    """Give what a loop runs over, and count what stands within the loop as often as it runs."""
    items = work.listed(value)
    work.spend(len(items) * within)
    return items


def _sliced(work: Work, value: Any, *limits: int | None) -> Any:
    if isinstance(value, Undefined):
        return value
    if isinstance(value, (str, list, tuple)):
        return made(work, value[slice(*limits)])
    raise TypeError


_INNER: Final[Mapping[str, Callable[..., Any]]] = {
    "==": made,
    "[:]": _sliced,
    "[]": made,
    "for": _iterated,
    "in": searched,
    "~": _concatenated,
}
"""What stands in a compiled template where Jinja2 would count nothing."""


def _shown(work: Work, value: Any) -> str:
    return work.shown(value)


def _filter(
    name: str, node: Any, *args: nodes.Expr, kwargs: Sequence[nodes.Keyword] = ()
) -> nodes.Filter:
    made_of = nodes.Filter(node, name, [*args], [*kwargs], None, None, lineno=node.lineno)
    made_of.set_environment(_environment())
    return made_of


class _Counting(NodeTransformer):
    """Puts what counts in the place of what Jinja2 would do without counting."""

    def visit_Call(self, node: nodes.Call) -> nodes.Node:  # noqa: N802 -- Jinja2's word
        self.generic_visit(node)
        if isinstance(node.node, nodes.Getattr):
            name = f".{node.node.attr}()"
            return _filter(name, node.node.node, *node.args, kwargs=node.kwargs)
        function: Any = node.node  # a name, or the check would have refused it
        return _filter(f"{function.name}()", *node.args)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802 -- same
        self.generic_visit(node)
        node.expr = _filter("==", node.expr)
        for operand in node.ops:
            operand.expr = _filter("in" if operand.op in ("in", "notin") else "==", operand.expr)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 -- same
        self.generic_visit(node)
        return _filter("~", nodes.List(node.nodes, lineno=node.lineno))

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802 -- same
        self.generic_visit(node)
        return _filter("[]", node)

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 -- same
        within = sum(1 for _ in node.find_all(nodes.Node))
        self.generic_visit(node)
        node.iter = _filter("for", node.iter, nodes.Const(within, lineno=node.lineno))
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802 -- same
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        none: Any = nodes.Const(None, lineno=node.lineno)
        limits = (node.arg.start, node.arg.stop, node.arg.step)
        return _filter("[:]", node.node, *(limit or none for limit in limits))

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802 -- same
        self.generic_visit(node)
        return _filter("[]", node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802 -- same
        if node.ctx == "store":
            return node
        self.generic_visit(node)
        return _filter("[]", node)
