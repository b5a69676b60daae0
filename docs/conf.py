"""How Sphinx builds the documentation."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

from docutils import nodes
from pygments.lexers.special import TextLexer
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.domains.python import PyObject
from sphinx.environment import BuildEnvironment

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "pagerduty-plugin"
author = "the pagerduty-plugin authors"
copyright = f"2026, {author}"  # noqa: A001 -- the name that Sphinx reads
version = release = installed_version("pagerduty-plugin")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "settings_reference",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"pagerduty-plugin {release}"
html_copy_source = False
html_show_sphinx = False

smartquotes = False  # what is quoted may be typed
myst_heading_anchors = 3

# in docstrings, `Name` is a reference to it
default_role = "py:obj"
toc_object_entries_show_parents = "hide"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 140
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Class attributes", "Attributes")]

PUBLIC_MODULES = (
    "alerthost_client",
    "hostspec",
    "hostspec.alert",
    "hostspec.connect",
    "hostspec.delivery",
    "hostspec.provider",
    "hostspec.errors",
    "hostspec.hookspecs",
    "hostspec.inprocess",
    "hostspec.normalisation",
    "hostspec.plugins",
    "hostspec.secret",
    "hostspec.settings",
    "hostspec.structuring",
    "hostspec.testing",
    "hostspec.text",
    "pagerduty_plugin",
    "pagerduty_plugin.hookspecs",
    "pagerduty_plugin.testing",
)

nitpicky = True
nitpick_ignore_regex = [
    # the standard library, and other libraries: their inventories would have to be fetched
    (
        r"py:class",
        r"(collections\.abc|contextlib|datetime|dt|flask|os|pathlib|pluggy|sqlalchemy)\..+",
    ),
    (r"py:exc", r"IntegrityError|json\.JSONDecodeError"),
    # names that the fake has for type checkers only
    (r"py:class", r"Event|State"),
    # what an engine counts with; its host need not
    (r"py:class", r"alerthost\.outbox\.leasing\.Lease"),
    # type variables
    (r"py:class", r"(hostspec\.[\w.]+\.)?[ABIST]"),
]


def _keep_first_line(
    _app: Sphinx, what: str, _name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    """Keep Napoleon from taking what stands before a colon, in a property's text, for a type."""
    if what in {"attribute", "data", "property"}:
        lines[:0] = ["..", ""]  # an empty comment, which it reads in the text's place


def _find_public(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.TextElement
) -> nodes.reference | None:
    """Find a name under the module that makes it public: docstrings speak of it by itself."""
    if node.get("refdomain") != "py":
        return None
    name = node["reftarget"].rpartition(".")[2]
    for module in PUBLIC_MODULES:
        found = env.domains.python_domain.resolve_xref(
            env, node["refdoc"], app.builder, "obj", f"{module}.{name}", node, contnode
        )
        if found is not None:
            return found
    return None


def setup(app: Sphinx) -> None:
    """Go before Napoleon, call attributes what they are, and show a crontab as plain text."""
    app.add_lexer("crontab", TextLexer)
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"
    app.connect("autodoc-process-docstring", _keep_first_line, priority=400)
    app.connect("missing-reference", _find_public)
