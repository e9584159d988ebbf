"""Find the module of a verb in a registry, let it read its arguments, and run it.

Nothing but this module and the standard library is imported before the verb is known, so that `--help` answers at
once: a verb's module brings the database, pydantic or torch with it.
"""

import argparse
import difflib
import importlib
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NoReturn

Verbs = Mapping[str, tuple[str, str]]
"""Verb -> its module, which has `add_arguments` and `main`, and its help."""


class _VerbParser(argparse.ArgumentParser):
    """The parser of a verb; of one such as `keys` it says which actions there are where none of them is given."""

    def error(self, message: str) -> NoReturn:
        """End with exit status 2 and one line."""
        first = next((action for action in self._actions if not action.option_strings), None)
        if first is not None and first.choices:
            there_are = f"there are {', '.join(map(str, first.choices))}"
            name = str(first.metavar or first.dest)
            wrong = re.match(rf"argument {name}: invalid choice: '(.*?)'", message)
            if message.startswith(f"the following arguments are required: {name}"):
                message = f"say what to do: {there_are}"
            elif wrong:
                message = f"no action {wrong[1]!r}{_nearest(wrong[1], map(str, first.choices))}; {there_are}"
        super().error(message)


def run_verb(
    prog: str,
    description: str,
    verbs: Verbs,
    argv: Sequence[str] | None,
    *,
    command: str | None = None,
    version: str | None = None,
    other_names: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Run one verb of a program and return the exit status: 0, 1 for an error of the project, 2 for wrong usage.

    `command` is what the user typed, if not `prog` and the verb; `version` is what `--version` prints.
    `other_names` are words that other programs have for what a verb does here.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog=prog, description=description)
    if version is not None:
        parser.add_argument("--version", action="version", version=f"{prog} {version}")
    for argument in arguments:
        # What is no UTF-8 arrives as lone surrogates, which neither a database nor a terminal takes.
        if any("\ud800" <= letter <= "\udfff" for letter in argument):
            parser.error(f"argument {argument!a} is not UTF-8")
    subparsers = parser.add_subparsers(
        title="verbs", dest="verb", metavar="VERB", required=True, parser_class=_VerbParser
    )
    chosen = parser
    for name, (module, help_text) in verbs.items():
        verb = subparsers.add_parser(name, help=help_text, description=help_text, prog=command or f"{prog} {name}")
        if arguments[:1] == [name]:
            chosen = verb
            importlib.import_module(module).add_arguments(verb)
    if arguments and not arguments[0].startswith("-") and arguments[0] not in verbs:
        meant = other_names.get(arguments[0].lower().replace("-", "").replace("_", ""))
        hint = f" (did you mean {meant}?)" if meant else _nearest(arguments[0].lower(), verbs)
        parser.error(f"no verb {arguments[0]!r}{hint}; `{prog} --help` lists all")
    if arguments and arguments[0].startswith("--") and arguments[0].partition("=")[0] not in ("--help", "--version"):
        parser.error(f"{arguments[0]} comes after the verb: {prog} VERB {arguments[0]} ...")
    parsed, unknown = parser.parse_known_args(arguments)
    if unknown:
        known = [option for each in _with_actions(chosen) for option in each._option_string_actions]
        hints = [f"{word}{_nearest(word.partition('=')[0], known)}" for word in unknown]
        chosen.error(f"unrecognized arguments: {', '.join(hints)}")
    # By name, because it imports structlog, and this is the first moment at which that is worth its half second.
    process = importlib.import_module("driftwheel.cli.process")
    main = importlib.import_module(verbs[parsed.verb][0]).main
    status: int = process.run_command(f"{prog.rpartition(' ')[2]} {parsed.verb}", main, parsed)
    return status


def _nearest(word: str, known: Iterable[str]) -> str:
    """Return a question about the known word that is most like another, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _with_actions(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """Return a verb's parser and those of its actions, such as `keys create`."""
    nested = [action.choices or {} for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return [parser, *(choice for choices in nested for choice in choices.values())]
