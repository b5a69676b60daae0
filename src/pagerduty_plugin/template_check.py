"""Checks a template at load: every name, filter, test and argument in every branch. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Final

import attrs
from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.meta import find_undeclared_variables
from jinja2.visitor import NodeTransformer

from hostspec.text import unknown_name
from pagerduty_plugin.templates import NAMES

DEEPEST: Final = 32
"""Levels of nesting: Python compiles deeper ones too slowly."""

TOO_DEEP: Final = f"is nested more than {DEEPEST} levels deep; simplify it"

LOOP: Final = frozenset(
    "first index index0 last length nextitem previtem revindex revindex0".split()  # noqa: SIM905
)
"""Members of ``loop``."""

_TEXTS: Final = NAMES - {"labels", "details"}
_STATEMENTS: Final = (nodes.Template, nodes.Assign, nodes.For, nodes.If, nodes.Output, nodes.With)
_APPLY: Final = {"map": 0, "reject": 0, "rejectattr": 1, "select": 0, "selectattr": 1}
"""Filters that apply another filter or a test to each item: which argument names it."""


def faults(
    environment: Environment,
    text: str,
    names: frozenset[str],
    known: Mapping[str, Mapping[str, Callable[..., Any]]],
) -> list[tuple[int, str]]:
    """Return the line and the reason of every fault in a template.

    It may use the given names, and the known filters, tests, methods and functions.

    Raises:
        TemplateSyntaxError: it cannot be parsed, or is nested too deeply.
    """
    tree = environment.parse(text)
    _refuse_deeper(tree)
    own = {node.name for node in tree.find_all(nodes.Name) if node.ctx != "load"}
    undeclared = _undeclared(environment, text, tree) - names
    found = _Checker(names | own - undeclared, undeclared, known, own).faults(tree)
    return sorted(dict.fromkeys(found), key=lambda fault: fault[0])


def _refuse_deeper(node: nodes.Node, depth: int = 0) -> None:
    if depth == DEEPEST:
        raise TemplateSyntaxError(TOO_DEEP, node.lineno)
    for child in node.iter_child_nodes():
        _refuse_deeper(child, depth + 1)


class _Flattener(NodeTransformer):
    """Concatenates the branches of ``if``, as each may set names for the rest."""

    def visit_If(self, node: nodes.If) -> list[nodes.Node]:  # noqa: N802 -- Jinja2's word
        self.generic_visit(node)
        return [nodes.Output([node.test]), *node.body, *node.elif_, *node.else_]


def _undeclared(environment: Environment, text: str, tree: nodes.Template) -> set[str]:
    lenient = environment.overlay()  # accepts unknown filters, which are reported elsewhere
    used: Iterable[Any] = tree.find_all((nodes.Filter, nodes.Test))
    anything: dict[str, Any] = {node.name: str for node in used}
    lenient.filters = lenient.tests = anything
    lenient.globals = {}
    return find_undeclared_variables(_Flattener().visit(lenient.parse(text))) | {"self"}


@attrs.frozen
class _Checker:
    names: frozenset[str]
    undeclared: set[str]
    known: Mapping[str, Mapping[str, Callable[..., Any]]]
    own: set[str]

    def faults(self, node: nodes.Node) -> Iterator[tuple[int, str]]:
        if isinstance(node, nodes.Stmt) and not isinstance(node, _STATEMENTS):
            yield node.lineno, "only the tags if, for, with and set (with a value) are supported"
            return
        for reason in self._reasons(node):
            yield node.lineno, reason
        children = node.iter_child_nodes()
        if isinstance(node, nodes.Call):  # the name of its method or function is checked already
            inner = node.node.iter_child_nodes()
            children = chain(inner, node.iter_child_nodes(exclude=("node",)))
        for child in children:
            yield from self.faults(child)

    def _reasons(self, node: nodes.Node) -> Iterator[str]:
        match node:
            case nodes.For(recursive=True):
                yield "'recursive' is not supported"
            case nodes.Assign(target=nodes.NSRef()):
                yield "'set' takes a name without a dot"
            case nodes.Name(ctx="load", name=name) if name in self.undeclared:
                if name in NAMES:
                    yield f"{name!r} may change before the resolve, which needs the same key"
                else:
                    yield unknown_name(name, self.names)
            case nodes.Getattr(node=nodes.Name(name=of), attr=member):
                yield from self._member(of, member)
            case nodes.Getitem(node=nodes.Name(name=of), arg=nodes.Const(value=str(member))):
                yield from self._member(of, member)
            case nodes.Mod() | nodes.Mul():
                sides = (getattr(side, "value", None) for side in (node.left, node.right))
                if any(isinstance(side, str) for side in sides):
                    yield f"{node.operator!r} is for numbers; join texts with '~'"
            case nodes.Call() | nodes.Filter() | nodes.Test():
                yield from self._uses(node)

    def _uses(self, node: nodes.Call | nodes.Filter | nodes.Test) -> Iterator[str]:
        match node:
            case nodes.Call(node=nodes.Getattr(attr=name)):
                yield from self._called("method", name, node, node.args)
            case nodes.Call(node=nodes.Name(name=name)):
                yield from self._called("function", name, node, node.args)
            case nodes.Call():
                yield "only methods and functions can be called"
            case nodes.Test():
                yield from self._called("test", node.name, node, node.args)
            case _:
                yield from self._called("filter", node.name, node, node.args)
                yield from self._applied(node)

    def _member(self, of: str, member: str) -> Iterator[str]:
        if of == "loop" and member not in LOOP:
            yield unknown_name(member, LOOP, "in 'loop',")
        if of in _TEXTS - self.own:
            yield f"{of!r} is text and has no {member!r}"

    def _called(self, kind: str, name: str, node: Any, args: Iterable[nodes.Expr]) -> Iterator[str]:
        """Check the name and the arguments of a filter, test, method or function."""
        if node.dyn_args or node.dyn_kwargs:
            yield f"the {kind} {name!r}: '*' is not supported"
        if name not in self.known[kind]:
            yield unknown_name(name, self.known[kind], f"the {kind}")
            return
        signature = inspect.signature(self.known[kind][name])
        first = next(iter(signature.parameters))  # Jinja2's own argument before the value
        leading = (kind != "function") + (first in ("context", "env", "environment", "eval_ctx"))
        try:
            signature.bind(*[None] * leading, *args, **{each.key: each for each in node.kwargs})
        except TypeError as error:
            yield f"the {kind} {name!r}: {error}"

    def _applied(self, node: nodes.Filter) -> Iterator[str]:
        """Check the filter or test that a filter applies to each item."""
        keywords: list[Any] = node.kwargs
        is_map = node.name == "map"
        if node.name not in _APPLY or (is_map and "attribute" in (each.key for each in keywords)):
            return
        kind = "filter" if is_map else "test"
        match node.args[_APPLY[node.name] :]:
            case [nodes.Const(value=str(name)), *args]:
                alone = nodes.Filter(None, name, [], [], None, None)
                yield from self._called(kind, name, alone, args)
            case [_, *_]:
                yield f"the filter {node.name!r}: write the name of the {kind} as a text"
            case [] if is_map:
                yield "the filter 'map': needs the name of a filter, or an attribute"
