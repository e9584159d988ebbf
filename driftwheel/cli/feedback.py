"""Show what was said about an answer and by whom, say something about it, or take back what an author said.

driftwheel feedback show|give|confirm|withdraw|review

One file for five actions: they are one verb, and share its words.
"""

import argparse
import getpass
import json
import sys
from dataclasses import asdict

from driftwheel.argument_types import moment, whole
from driftwheel.cli.command import add_common_arguments, opened, plain, print_record
from driftwheel.errors import ConfigError
from driftwheel.inert_text import inert, inert_json
from driftwheel.records.by_whom import Feedback
from driftwheel.records.nouns import Traffic
from driftwheel.traffic.doubtful_labels import NEWEST, DoubtfulLabel, find_doubtful
from driftwheel.traffic.feedback import (
    Author,
    confirm_feedback,
    give_feedback,
    person,
    withdraw_all,
    withdraw_feedback,
    words_about,
)

EXCERPT = 60
"""Letters of a prompt that one line shows."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's actions, each with its arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, act, help_text in (
        ("show", _show, "print what was said about an answer, and by whom"),
        ("give", _give, "say whether an answer was right, or what the right one is"),
        ("confirm", _confirm, "vouch for what an author without trust said was right"),
        ("withdraw", _withdraw, "take back what an author said, about one answer or about all"),
        ("review", _review, "list labels that sure answers, or labels of requests like theirs, contradict"),
    ):
        action = actions.add_parser(name, help=help_text, description=help_text)
        action.set_defaults(act=act)
        add_common_arguments(action)
        if name == "review":
            action.add_argument("--last", type=whole(1, NEWEST), default=20, metavar="N", help="at most so many (20)")
        elif name != "confirm":
            few = "?" if name == "withdraw" else None
            action.add_argument("id", nargs=few, metavar="REQUEST_ID", help="the x-request-id of the answer")
        if name == "give":
            action.add_argument("--thumb", type=int, choices=(1, -1), help="1 for right, -1 for wrong")
            action.add_argument("--label", metavar="TEXT", help="the right label")
            action.add_argument("--correction", metavar="TEXT", help="the whole right answer")
            action.add_argument("--comment", metavar="TEXT", help="what you have to say about it")
        if name in ("withdraw", "confirm"):
            of_help = "id of the author, such as PROJECT/KEY_NAME" + (" (you)" if name == "withdraw" else "")
            action.add_argument("--author", metavar="ID", help=of_help, required=name == "confirm")
            since_help = "only what was said from then on, such as 2026-01-31"
            action.add_argument("--since", type=moment, metavar="TIME", help=since_help)


def main(arguments: argparse.Namespace) -> None:
    """Run the action."""
    arguments.act(arguments)


def _me() -> Author:
    return person(getpass.getuser())


def _show(arguments: argparse.Namespace) -> None:
    settings, ledger = opened(arguments)
    ledger.get(Traffic, arguments.id, project=settings.project)
    for word in words_about(ledger, [arguments.id]).get(arguments.id, []):
        if arguments.json:
            sys.stdout.write(json.dumps(asdict(word), default=plain) + "\n")
        else:
            sys.stdout.write(_line(word) + "\n")


def _line(word: Feedback) -> str:
    # As JSON, so that what somebody wrote says nothing to the terminal.
    end = ", withdrawn" if word.withdrawn_at else ""
    author = f"{inert(word.author) or 'without a key'} (trust: {word.trust}{end})"
    return f"{word.created_at:%Y-%m-%d %H:%M:%S}  {author}  {word.kind} {_quoted(word.value)}"


def _give(arguments: argparse.Namespace) -> None:
    settings, ledger = opened(arguments)
    row = give_feedback(
        settings.traffic,
        ledger,
        settings.project,
        arguments.id,
        author=_me(),
        thumb=arguments.thumb,
        label=arguments.label,
        correction=arguments.correction,
        comment=arguments.comment,
        label_field=settings.dataset.label_field,
    )
    print_record(row, as_json=arguments.json)


def _confirm(arguments: argparse.Namespace) -> None:
    settings, ledger = opened(arguments)
    of, since = arguments.author, arguments.since
    found = confirm_feedback(settings.traffic, ledger, settings.project, of, by=_me(), since=since)
    sentence = f"you say what {of} said about {found.requests} answers"
    if found.left_out:
        sentence += f"; {found.left_out} were left out, the first because of {json.dumps(found.reason)}"
    left_out = {"left_out": found.left_out, "reason": found.reason} if found.left_out else {}
    _print_count(arguments, found.requests, sentence, **left_out)


def _withdraw(arguments: argparse.Namespace) -> None:
    settings, ledger = opened(arguments)
    if arguments.id:
        row = withdraw_feedback(ledger, settings.project, arguments.id, author=_me(), of=arguments.author)
        print_record(row, as_json=arguments.json)
        return
    if arguments.author is None:
        raise ConfigError("name a request, or an author with --author to take back everything that it said")
    count = withdraw_all(ledger, settings.project, arguments.author, by=_me(), since=arguments.since)
    _print_count(arguments, count, f"what {arguments.author} said about {count} answers counts no more")


def _review(arguments: argparse.Namespace) -> None:
    settings, ledger = opened(arguments)
    found = find_doubtful(ledger, settings.alias_key, settings.dataset.label_field)
    for doubtful in found[: arguments.last]:
        if arguments.json:
            sys.stdout.write(json.dumps(asdict(doubtful)) + "\n")
        else:
            sys.stdout.write(_doubt_line(doubtful) + "\n")
    if not arguments.json:
        sys.stdout.write(f"{len(found)} labels are in doubt; the newest were compared, {NEWEST} at most\n")


def _quoted(value: object) -> str:
    return inert_json(json.dumps(value, ensure_ascii=False))


def _doubt_line(doubtful: DoubtfulLabel) -> str:
    against = [f"the model was sure of {_quoted(doubtful.model_says)}"] if doubtful.model_says else []
    against += [f"most like it are {_quoted(doubtful.neighbours_say)}"] if doubtful.neighbours_say else []
    who = f"{inert(doubtful.author) or 'without a key'} (trust: {doubtful.trust})"
    asked = _quoted(doubtful.prompt[:EXCERPT])
    return f"{inert(doubtful.request_id)}  {who} says {_quoted(doubtful.label)}, {', '.join(against)}: {asked}"


def _print_count(arguments: argparse.Namespace, count: int, sentence: str, **more: object) -> None:
    said = json.dumps({"author": arguments.author, "requests": count, **more}) if arguments.json else sentence
    sys.stdout.write(inert(said) + "\n")
