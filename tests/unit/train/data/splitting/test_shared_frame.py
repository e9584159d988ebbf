"""What stands in nearly all prompts makes no two of them alike, and hides no two that are."""

import json
import random
from collections.abc import Callable
from functools import cache

import pytest

from driftwheel.records.dataset_report import SharedFrame
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.text.conversations import said
from examples.support.world import messages
from tests.support import planted_leaks
from train.data.checking.data_check import check_files
from train.data.examples import Example
from train.data.splitting.leaks import HeldOut, check_dataset
from train.data.splitting.shared_frame import Compared, measured
from train.data.splitting.splits import group_numbers
from train.dataset import build_dataset

BEFORE = (
    "You are given a message that a customer sent to the support of a maker of smart home devices. Read it with "
    "care and say in one word what the customer wants, so that it reaches the right team.\n\nMessage: "
)
AFTER = "\n\nAnswer with one word and nothing else."


def row(name: str, text: str) -> Example:
    return Example(name, [said("user", text)], [said("assistant", "x")], "x", name)


@cache
def questions(count: int) -> list[str]:
    """Return messages of which none is like another."""
    texts = [m.text for m in messages(2 * count, 3, "steady")]
    groups = group_numbers([row(str(n), text) for n, text in enumerate(texts)], 0.9)
    return [texts[n] for n in sorted(set(groups))][:count]


def test_an_instruction_before_each_input_makes_no_group_of_them() -> None:
    """Forty unlike inputs after one instruction were ten groups."""
    looks, things = (
        ("old", "loud", "red", "warm", "tiny"),
        ("lamp", "door", "hub", "plug", "fuse", "camera", "bell", "tap"),
    )
    inputs = [f"{look} {thing}" for look in looks for thing in things]
    rows = [row(str(n), f"{BEFORE}{text}{AFTER}") for n, text in enumerate(inputs)]
    shared = measured(e.conversation for e in rows)
    assert shared == SharedFrame(before=BEFORE, after=AFTER)
    assert len(set(group_numbers(rows, 0.9, shared=shared))) == 40
    assert len(set(group_numbers(rows, 0.9))) < 12


def test_leaks_are_found_behind_an_instruction_as_they_are_without_one() -> None:
    inputs = questions(120)
    judging = [row(f"t{n}", f"{BEFORE}{text}{AFTER}") for n, text in enumerate(inputs)]
    planted = [p for p in planted_leaks.plant(inputs, 6, 0.1) if p.kind in planted_leaks.NEAR_DUPLICATES]
    learned = [row(f"l{n}", f"{BEFORE}{p.text}{AFTER}") for n, p in enumerate(planted)]
    shared = measured(e.conversation for e in judging)
    found = HeldOut(judging, 0.9, shared=shared).leaks(learned)
    bare = HeldOut([row(f"t{n}", text) for n, text in enumerate(inputs)], 0.9).leaks(
        [row(f"l{n}", p.text) for n, p in enumerate(planted)]
    )
    assert len(found) > 20
    assert {leak.row.id for leak in found} == {leak.row.id for leak in bare}


@pytest.mark.parametrize(
    "change",
    [str.upper, lambda text: text.replace("smart home", "smrt home"), lambda text: text.replace(". Read", " ; read")],
    ids=["capitals", "typo", "signs"],
)
def test_an_instruction_that_somebody_retyped_is_one_too(change: Callable[[str], str]) -> None:
    shared = SharedFrame(before=BEFORE, after=AFTER)
    retyped = Compared(shared).text(f"{change(BEFORE)}where is my hub{change(AFTER)}")
    assert retyped.strip() == "where is my hub"


@pytest.mark.parametrize("question", ["My parcel is lost!", "Login fails", f"Can I pay by card? {'I have two. ' * 20}"])
def test_a_question_before_the_instruction_stays(question: str) -> None:
    """It was dropped with all that stands before the instruction's end, and so such prompts were one text."""
    for shared in (SharedFrame(before=f"{BEFORE}\n"), SharedFrame(after=f"\n{BEFORE}")):
        for text in (f"{question}\n\n{BEFORE.strip()}", f"{BEFORE.strip()}\n\n{question}"):
            assert Compared(shared).text(text).strip() == question.strip()


def test_a_short_question_behind_a_shorter_instruction_stays() -> None:
    """A text that is not longer than the instruction was found in it as a whole, question included."""
    compared = Compared(SharedFrame(before=BEFORE))
    shorter = BEFORE.replace(" with care", "")
    assert compared.text(f"{shorter}refund").strip() == "refund"
    assert compared.text(BEFORE.upper()) == ""


def test_letters_whose_small_form_is_longer_move_nothing() -> None:
    compared = Compared(SharedFrame(before=f"{'İ' * 30} instruction to follow closely: "))
    assert compared.text(f"{'İ' * 30} Instruction to follow closely: my question stays") == "my question stays"


def test_what_is_short_or_not_in_nearly_all_is_left_alone() -> None:
    inputs = questions(40)
    assert measured([f"{BEFORE}{text}" for text in inputs[:30]] + inputs[30:]) == SharedFrame()
    assert measured([f"how do i {text}" for text in inputs]) == SharedFrame()
    assert measured([f"{BEFORE}{text}" for text in inputs[:19]]) == SharedFrame(), "of few texts nobody can tell"
    assert measured([]) == SharedFrame()
    compared = Compared(SharedFrame(before=BEFORE, after=AFTER))
    for text in ("", "where is my hub", "customer", AFTER.strip()[:12], *inputs):
        assert compared.text(text) == text
    chance = random.Random(0)
    words = BEFORE.split()
    assert compared.text(" ".join(chance.sample(words, len(words)))), "the words in another order are no instruction"


def test_a_build_keeps_what_its_prompts_share_and_a_check_says_it(settings: Settings, ledger: Ledger) -> None:
    rows = [{"prompt": f"{BEFORE}{text}", "completion": "xyz"[n % 3]} for n, text in enumerate(questions(80))]
    path = settings.resolve("seed.jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    dataset = build_dataset(settings, ledger)
    assert dataset.report.shared == SharedFrame(before=BEFORE)
    assert dataset.test_rows == pytest.approx(8, abs=3)
    check_dataset(settings.dataset, ledger, settings.project, ledger.get(type(dataset), dataset.id))
    found = check_files(settings.dataset, settings.base, settings.train.max_length, [path])
    assert found.near_duplicates.pairs == 0
    assert any("Nearly all prompts begin with 'You are given a message" in line for line in found.suggestions)
