"""Reads a template before it is used: every name, filter and test in every branch. Pure."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from jinja2 import nodes
from jinja2.visitor import NodeVisitor

from pagerduty_plugin.template_functions import FILTERS, FUNCTIONS, METHODS, TESTS
from pagerduty_plugin.template_names import NAMES

MAPPINGS: Final = frozenset({"labels", "details"})
"""Those of the names that have members; the others are texts."""

LOOP: Final = (
    "first",
    "index",
    "index0",
    "last",
    "length",
    "nextitem",
    "previtem",
    "revindex",
    "revindex0",
)
"""What ``loop`` knows inside of a loop."""

DEEPEST: Final = 32
"""Levels of a template: Python takes ever longer to compile what is nested more deeply."""

_STATEMENTS: Final = (nodes.Assign, nodes.For, nodes.If, nodes.Output, nodes.With)
_TAGS: Final = {
    "AssignBlock": "set without a value",
    "CallBlock": "call",
    "FilterBlock": "filter",
    "FromImport": "from",
    "Scope": "autoescape",
    "ScopedEvalContextModifier": "autoescape",
}
"""What a person wrote where Jinja2 has another word for it."""

_FOR_NUMBERS: Final = {nodes.Mod: "%", nodes.Mul: "*"}
_NAMES_A_TEST: Final = {"reject": 0, "rejectattr": 1, "select": 0, "selectattr": 1}


def faults(template: nodes.Template, names: frozenset[str]) -> list[tuple[int, str]]:
    """Find everything that is wrong with a template, once: each line, and what is wrong there."""
    reader = _Reader(names)
    reader.visit(template)
    return sorted(dict.fromkeys(reader.found), key=lambda found: found[0])


class _Reader(NodeVisitor):
    """One walk through one template, and the names that it has set so far."""

    def __init__(self, names: frozenset[str]) -> None:
        self.found: list[tuple[int, str]] = []
        self._names = names
        self._own: frozenset[str] = frozenset()
        self._depth = 0

    def _tell(self, node: nodes.Node, reason: str) -> None:
        self.found.append((node.lineno, reason))

    def visit(self, node: nodes.Node, *_args: Any, **_kwargs: Any) -> None:
        if self._depth == DEEPEST:
            self._tell(node, "is nested too deeply")
            return
        self._depth += 1
        super().visit(node)
        self._depth -= 1

    def generic_visit(self, node: nodes.Node, *_args: Any, **_kwargs: Any) -> None:
        if isinstance(node, nodes.Stmt) and not isinstance(node, _STATEMENTS):
            kind = type(node).__name__
            self._tell(node, f"{_TAGS.get(kind, kind.lower())!r} has no place in a template")
            return
        self._read(node.iter_child_nodes())

    def _read(self, nodes_: Iterable[nodes.Node]) -> None:
        for node in nodes_:
            self.visit(node)

    # statements, with what each of them lets the following know

    def visit_Assign(self, node: nodes.Assign) -> None:  # noqa: N802 -- Jinja2's word
        self.visit(node.node)
        if isinstance(node.target, nodes.NSRef):
            self._tell(node, "'set' takes a name without a dot")
        self._own |= _stored(node.target)

    def visit_For(self, node: nodes.For) -> None:  # noqa: N802 -- same
        if node.recursive:
            self._tell(node, "'recursive' has no place in a template")
        self.visit(node.iter)
        before = self._own
        self._own = before | _stored(node.target)
        if node.test:
            self.visit(node.test)
        self._own |= {"loop"}
        self._read(node.body)
        self._own = before
        self._read(node.else_)
        self._own = before

    def visit_If(self, node: nodes.If) -> None:  # noqa: N802 -- same
        self.visit(node.test)
        before = after = self._own
        branches: list[list[nodes.Node]] = [node.body, *map(_alone, node.elif_), node.else_]
        for branch in branches:
            self._own = before
            self._read(branch)
            after |= self._own
        self._own = after

    def visit_With(self, node: nodes.With) -> None:  # noqa: N802 -- same
        self._read(node.values)
        before = self._own
        self._own = before.union(*map(_stored, node.targets))
        self._read(node.body)
        self._own = before

    # expressions

    def visit_Name(self, node: nodes.Name) -> None:  # noqa: N802 -- same
        name = node.name
        if name in self._own or name in self._names:
            return
        if name in NAMES:
            reason = "may change before the resolve, which has to find the same key"
            self._tell(node, f"{name!r} {reason}")
        else:
            self._tell(node, _unknown("", name, self._names | self._own))

    def visit_Getattr(self, node: nodes.Getattr) -> None:  # noqa: N802 -- same
        self._member(node, node.node, node.attr)

    def visit_Getitem(self, node: nodes.Getitem) -> None:  # noqa: N802 -- same
        if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            self._member(node, node.node, node.arg.value)
        else:
            self.generic_visit(node)

    def _member(self, node: nodes.Node, of: nodes.Node, member: str) -> None:
        self.visit(of)
        if isinstance(of, nodes.Literal):
            self._tell(node, f"what is written out has no {member!r}")
        if not isinstance(of, nodes.Name):
            return
        if of.name == "loop" and of.name in self._own:
            if member not in LOOP:
                self._tell(node, _unknown("in 'loop',", member, LOOP))
        elif of.name in self._names - self._own - MAPPINGS:
            self._tell(node, f"{of.name!r} is a text, and has no {member!r}")

    def visit_Mod(self, node: nodes.Mod) -> None:  # noqa: N802 -- same
        self._for_numbers(node)

    def visit_Mul(self, node: nodes.Mul) -> None:  # noqa: N802 -- same
        self._for_numbers(node)

    def _for_numbers(self, node: nodes.BinExpr) -> None:
        for side in (node.left, node.right):
            if isinstance(side, nodes.Const) and isinstance(side.value, str):
                self._tell(node, f"{_FOR_NUMBERS[type(node)]!r} is for numbers")
        self._read((node.left, node.right))

    def visit_Call(self, node: nodes.Call) -> None:  # noqa: N802 -- same
        called = node.node
        if isinstance(called, nodes.Getattr):
            self.visit(called.node)
            self._function(node, "method", called.attr, METHODS)
        elif isinstance(called, nodes.Name) and called.name not in self._own:
            self._function(node, "function", called.name, FUNCTIONS)
        else:
            self._tell(node, "only methods and functions can be called")

    def visit_Filter(self, node: nodes.Filter) -> None:  # noqa: N802 -- same
        self._read([node.node] if node.node else [])
        self._function(node, "filter", node.name, FILTERS)
        if node.name in _NAMES_A_TEST:
            self._named(node, "test", TESTS, _NAMES_A_TEST[node.name])
        elif node.name == "map":
            self._named(node, "filter", FILTERS, 0)
            if not node.args and "attribute" not in map(_keyword, node.kwargs):
                self._tell(node, "the filter 'map': needs the name of a filter, or an attribute")

    def visit_Test(self, node: nodes.Test) -> None:  # noqa: N802 -- same
        self.visit(node.node)
        self._function(node, "test", node.name, TESTS)

    def _function(
        self,
        node: nodes.Call | nodes.Filter | nodes.Test,
        kind: str,
        name: str,
        known: Mapping[str, Callable[..., Any]],
    ) -> None:
        if node.dyn_args or node.dyn_kwargs:
            self._tell(node, f"the {kind} {name!r}: '*' has no place in a template")
        if name in known:
            self._bind(node, f"the {kind} {name!r}", known[name], node.args)
        else:
            self._tell(node, _unknown(f"the {kind}", name, known))
        self._read(node.iter_child_nodes(only=("args", "kwargs")))

    def _bind(
        self,
        node: nodes.Call | nodes.Filter | nodes.Test,
        what: str,
        function: Callable[..., Any],
        args: Sequence[nodes.Node],
    ) -> None:
        leading = 1 if function in FUNCTIONS.values() else 2  # the work, and mostly a value
        named: dict[Any, Any] = dict.fromkeys(_keyword(each) for each in node.kwargs)
        try:
            inspect.signature(function).bind(*[None] * leading, *args, **named)
        except TypeError as error:
            self._tell(node, f"{what}: {error}")

    def _named(
        self, node: nodes.Filter, kind: str, known: Mapping[str, Callable[..., Any]], index: int
    ) -> None:
        """Check the filter or test that a filter is told to use on each item."""
        if len(node.args) <= index:
            return
        named = node.args[index]
        if not isinstance(named, nodes.Const) or not isinstance(named.value, str):
            self._tell(node, f"the filter {node.name!r}: the {kind} has to be named by a text")
        elif named.value not in known:
            self._tell(node, _unknown(f"the {kind}", named.value, known))
        else:
            what = f"the {kind} {named.value!r}"
            self._bind(node, what, known[named.value], node.args[index + 1 :])


def _keyword(argument: Any) -> str:
    """Name a keyword argument; Jinja2's types take it for a pair of expressions."""
    return str(argument.key)


def _alone(node: nodes.Node) -> list[nodes.Node]:
    return [node]


def _stored(target: nodes.Node) -> frozenset[str]:
    """Find the names that a loop or ``set`` gives values to."""
    each = (target, *target.find_all(nodes.Name))
    return frozenset(node.name for node in each if isinstance(node, nodes.Name))


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    told = f"{what} {name!r}".lstrip()
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"{told} is unknown; did you mean {close[0]!r}?"
    return f"{told} is unknown; known are {', '.join(names)}"
