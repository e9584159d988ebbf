"""Screens the chat template of a base model, which is a program of strangers, before it is rendered the first time.

transformers renders in jinja2's ImmutableSandboxedEnvironment, here and in an engine: a template reaches no file, no
module and no internals of Python. The sandbox does not bound time and memory, and tells of a breach only when it is
rendered, which may be for one user in a thousand. So what no honest template needs is looked for in its text.
"""

import re
from collections.abc import Iterator

import jinja2
from jinja2 import nodes
from jinja2.ext import loopcontrols

from driftwheel.errors import ConfigError

MOST_CHARACTERS = 500_000
"""The longest template that TRL ships has 20,000."""
MOST_TURNS, MOST_COPIES = 10_000, 10_000
"""Of a loop over numbers and of a text that is multiplied; templates count messages and indent, and no more."""
MOST_LOOPS = 3
"""Loops over numbers within each other."""
_OF_TRANSFORMERS = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")
"""A statement that only transformers knows: it marks what is learned."""
_CHOICE = "choose another base model, or set model.template.file to a template that you trust"


def screen_template(template: str) -> None:
    """Raise ConfigError for a template that does what no honest one needs, and say where.

    One that is no Jinja is left to whoever renders it.
    """
    if len(template) > MOST_CHARACTERS:
        raise ConfigError(f"the chat template has {len(template):,} characters, and no honest one does; {_CHOICE}")
    environment = jinja2.Environment(extensions=[loopcontrols])  # parsed, never rendered
    try:
        tree = environment.parse(_OF_TRANSFORMERS.sub("", template))
    except (jinja2.TemplateError, RecursionError):
        return
    for line, harm in _harms(tree):
        raise ConfigError(f"line {line} of the chat template {harm}; {_CHOICE}")


def _harms(tree: nodes.Template) -> Iterator[tuple[int, str]]:
    """Give the lines that would do harm, each with what it does."""
    for node in tree.find_all(nodes.Node):
        if isinstance(node, nodes.Import | nodes.FromImport | nodes.Include | nodes.Extends):
            yield node.lineno, "loads another template"
        elif isinstance(node, nodes.Getattr | nodes.Getitem | nodes.Filter) and _reaches_inside(node):
            yield node.lineno, "reaches into Python's internals"
        elif isinstance(node, nodes.Pow) or (isinstance(node, nodes.Mul) and _largest(node) > MOST_COPIES):
            yield node.lineno, "multiplies without bound"
        elif isinstance(node, nodes.Call) and _is_range(node) and _largest(node) > MOST_TURNS:
            yield node.lineno, f"counts further than {MOST_TURNS:,}"
        elif isinstance(node, nodes.For) and _ranges_within(node) > MOST_LOOPS:
            yield node.lineno, f"has more than {MOST_LOOPS} loops over numbers within each other"


def _reaches_inside(node: nodes.Getattr | nodes.Getitem | nodes.Filter) -> bool:
    if isinstance(node, nodes.Filter):
        return node.name == "attr"
    if isinstance(node, nodes.Getattr):
        return node.attr.startswith("__")
    return isinstance(node.arg, nodes.Const) and str(node.arg.value).startswith("__")


def _is_range(node: nodes.Node | None) -> bool:
    return isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name == "range"


def _largest(node: nodes.Node) -> float:
    """Return the largest number that is written in an expression."""
    numbers = [c.value for c in node.find_all(nodes.Const) if isinstance(c.value, int | float)]
    return max(map(abs, numbers), default=0)


def _ranges_within(loop: nodes.For) -> int:
    """Return how many loops over numbers stand within each other, this one included."""
    own = _is_range(loop.iter) or any(_is_range(call) for call in loop.iter.find_all(nodes.Call))
    return own + max((_ranges_within(inner) for part in loop.body for inner in _loops(part)), default=0)


def _loops(node: nodes.Node) -> Iterator[nodes.For]:
    if isinstance(node, nodes.For):
        yield node
    else:
        yield from node.find_all(nodes.For)
