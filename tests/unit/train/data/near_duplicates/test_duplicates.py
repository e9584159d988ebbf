"""Texts that a reader would call the same are found, strangers are not."""

import random
import time

import pytest

from examples.support.world import messages
from train.data.near_duplicates.duplicates import Match, NearDuplicates, text_hash
from train.data.near_duplicates.near_pairs import Pieces, pairs_within
from train.data.near_duplicates.resemblance import Text

QUESTION = "my new card has not arrived after two weeks"


@pytest.mark.parametrize(
    ("other", "kind"),
    [
        (QUESTION, "exact"),
        ("MY new  card has not arrived, after two weeks!?", "folded"),
        ("m\u0443 new \u0441ard has not \u200barrived after two w\u00e9eks", "folded"),
        ("my new card has not arived after two weeks", "near"),
        ("my newcard has not arrived after two weeks", "near"),
        ("after two weeks my new card has not arrivde", "near"),
        ("hi team, my new card has not arrived after two weeks", "contained"),
        ("hello, my new card hasnot arrived after two weeks. thanks a lot", "contained"),
        ("card has not arrived after two we", "contained"),
        ("my new phone was stolen on a train to berlin", None),
        ("my new card has been blocked after two wrong pins", None),
        ("two weeks", None),
    ],
    ids=[
        "same",
        "case and signs",
        "look-alikes",
        "typo",
        "joined words",
        "order and typo",
        "greeting",
        "greeting, closing and typo",
        "cut off",
        "another matter",
        "same beginning",
        "too short to tell",
    ],
)
def test_a_text_resembles_another_in_the_strictest_way_that_holds(other: str, kind: str | None) -> None:
    found = NearDuplicates([QUESTION, "please cancel my plan"], 0.9).matches([other])
    assert found == ([Match(0, 0, kind)] if kind else [])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("i was charged $49 twice for the headset", "i was charged $60 twice for the headset"),
        ("where is order 4471, it is late", "hello, where is order 9082, it is late"),
        ("\U0001f600", "\U0001f680"),
    ],
    ids=["amounts", "numbers of orders", "signs alone"],
)
def test_other_numbers_and_other_signs_are_another_text(a: str, b: str) -> None:
    assert NearDuplicates([a], 0.9).like(b) == []


OPPOSITES = [
    ("activate", "deactivate"),
    ("how do i activate my card in the app", "how do i deactivate my card in the app"),
    ("activate my new card please", "please deactivate my new card"),
    ("where do i find the import settings of the app", "where do i find the export settings of the app"),
    ("card lost", "card found"),
    ("card lost", "card cost"),
    ("order 12", "order 21"),
    ("my new card has arrived in the mail today", "my new card has not arrived in the mail today"),
    ("i can top up my account with a cheque", "i cant top up my account with a cheque"),
    ("ich habe meine neue karte erhalten", "ich habe meine neue karte nicht erhalten"),
    ("what is 3 + 5", "what is 3 - 5"),
]


@pytest.mark.parametrize("similarity", [0.5, 0.9, 1.0])
@pytest.mark.parametrize(("a", "b"), OPPOSITES)
def test_opposites_in_nearly_the_same_letters_are_no_near_duplicates_at_any_similarity(
    a: str, b: str, similarity: float
) -> None:
    assert NearDuplicates([a], similarity).like(b) == []
    assert NearDuplicates([b], similarity).like(a) == []


LANGUAGES = [
    ("我要买一张去北京的票", "我要退一张去北京的票"),
    ("カードを止めたいです", "カードを使いたいです"),
    ("かきはどこですか", "がきはどこですか"),
    ("दिन कब", "दान कब"),
    ("如何激活我的银行卡并查询余额", "如何停用我的银行卡并查询余额"),
    ("可以在国外使用我的银行卡吗", "不可以在国外使用我的银行卡吗"),
    ("أين بطاقتي الجديدة", "أين طلبي الجديد"),
    ("카드가 있어요", "카드가 없어요"),
    ("ฉันต้องการยกเลิกบัตร", "ฉันต้องการเปิดบัตร"),
]


@pytest.mark.parametrize(("text", "other"), LANGUAGES)
def test_in_every_script_equal_texts_are_duplicates_and_different_ones_are_not(text: str, other: str) -> None:
    assert NearDuplicates([text], 0.9).like(other) == []
    assert NearDuplicates([text], 0.9).matches([f" {text}\u3002"]) == [Match(0, 0, "folded")]
    assert text_hash(text) != text_hash(other)


@pytest.mark.parametrize(
    ("text", "other", "kind"),
    [
        ("请问我的信用卡丢失了应该怎么办理挂失手续", "请问我的信用卡丢失了应该怎么样办理挂失手续", "near"),
        ("我的信用卡丢失了怎么办", "你好，我的信用卡丢失了怎么办，谢谢", "contained"),
        ("wo bleibt meine neue Kreditkarte für das Konto", "wo bleibt meine neue Kreditkrate für das Konto", "near"),
        ("Straße gesperrt, was tun", "STRASSE gesperrt - was tun?", "folded"),
        ("بِطَاقَتِي الجديدة لم تصل بعد", "بطاقتي الجديدة لم تصل بعد", "folded"),
        ("where is order ٤٤٧١", "where is order 4471", "folded"),
    ],
)
def test_near_duplicates_are_found_in_other_languages(text: str, other: str, kind: str) -> None:
    assert [match.kind for match in NearDuplicates([text], 0.9).matches([other])] == [kind]


def test_each_text_is_named_once_by_its_strictest_match_however_many_are_the_same() -> None:
    index = NearDuplicates([QUESTION.upper(), *[QUESTION] * 3, "my new card has not arived after two weeks"], 0.9)
    assert index.strictest([QUESTION, "please cancel my plan"]) == [Match(0, 1, "exact")]


def test_long_texts_are_found_by_a_sample_of_their_pieces() -> None:
    chance = random.Random(3)
    texts = [" ".join("".join(chance.choices("abcdefghij", k=5)) for _ in range(300)) for _ in range(20)]
    noisy = [_with_swapped_letters(text, 15, chance) for text in texts]
    found = {(m.asked, m.found) for m in NearDuplicates(texts, 0.9).matches(noisy)}
    assert found == {(number, number) for number in range(20)}


def test_questions_that_differ_in_a_number_alone_are_never_compared() -> None:
    texts = [Text(f"where is my order number {number}, it is late") for number in range(1000, 3000)]
    assert len(pairs_within(Pieces(texts, 0.9))) == 0


def test_a_lower_similarity_forgives_more() -> None:
    other = "my new card has not come after two weeks"
    assert NearDuplicates([QUESTION], 0.9).like(other) == []
    assert NearDuplicates([QUESTION], 0.6).like(other) == [0]


def test_clusters_join_what_is_linked() -> None:
    base = "i was charged forty nine dollars twice for the headset last week"
    texts = [base, base + "!", "please reset my password", base.upper(), "please reset my passwort"]
    assert NearDuplicates(texts, 0.8).clusters() == [0, 0, 2, 0, 2]


def test_no_texts_resemble_nothing() -> None:
    assert NearDuplicates([], 0.9).like("hello") == []
    assert NearDuplicates([], 0.9).clusters() == []
    assert NearDuplicates(["hello"], 0.9).matches([]) == []


def test_planted_typos_are_found_among_thousands() -> None:
    """The oracle is the planting: one changed letter in a short message."""
    chance = random.Random(0)
    texts = [e.text for e in messages(2000, 1, "steady") if len(e.text) > 20]
    planted = []
    for text in texts:
        place = chance.choice([n for n, c in enumerate(text) if c.isalpha()])
        planted.append(text[:place] + "#x"[text[place] != "x"] + text[place + 1 :])
    found = {(m.asked, m.found) for m in NearDuplicates(texts, 0.9).matches(planted)}
    assert sum((n, n) in found for n in range(len(texts))) >= 0.995 * len(texts)


def test_resemblance_depends_on_the_two_texts_alone_in_either_order() -> None:
    """What a split parted as unlike must be unlike beside every other set of texts, or a later check refuses it."""
    chance = random.Random(0)
    texts = [e.text for e in messages(1200, 1, "steady") if len(e.text) > 25]
    noisy = [_with_swapped_letters(text, 4, chance) + ", thx" for text in texts]
    found = {(m.asked, m.found) for m in NearDuplicates(texts, 0.95).matches(noisy)}
    assert found == {(m.found, m.asked) for m in NearDuplicates(noisy, 0.95).matches(texts)}
    alone = [bool(NearDuplicates([a], 0.95).like(b)) for a, b in zip(texts, noisy, strict=True)]
    assert alone == [(number, number) in found for number in range(len(texts))]
    assert 0.2 * len(texts) < sum(alone) < 0.8 * len(texts)


def _with_swapped_letters(text: str, times: int, chance: random.Random) -> str:
    for _ in range(times):
        place = chance.choice([n for n, letter in enumerate(text[:-1]) if letter.isalpha()])
        text = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    return text


def test_the_hash_ignores_what_does_not_matter() -> None:
    assert text_hash("Where  is my parcel") == text_hash("where is my PARCEL ")
    assert text_hash("where is my parcel") != text_hash("where is my parcels")


def _long(seed: int, count: int) -> list[str]:
    chance = random.Random(seed)
    known = ["".join(random.Random(n).choices("abcdefghijklmnoprstuvw", k=3 + n % 7)) for n in range(3000)]
    return chance.choices(known, k=count)


def test_very_long_texts_are_compared_in_linear_time_and_by_the_same_notion() -> None:
    """Two cells of 2 MB took minutes: edits were counted letter by letter."""
    words, chance = _long(1, 60_000), random.Random(2)
    near = [chance.choice(words) if chance.random() < 0.01 else word for word in words]
    texts = [" ".join(own) for own in (words, near, words[:42_000], _long(3, 60_000))]
    began = time.process_time()
    assert [match.kind for match in NearDuplicates(texts[:1], 0.9).matches(texts[1:])] == ["near", "contained"]
    assert NearDuplicates(texts[:1], 0.9).matches([texts[0].upper()])[0].kind == "folded"
    assert NearDuplicates(["a" * 400_000], 0.9).like("b" * 400_000) == []
    assert time.process_time() - began < 120, "the square of the lengths would take an hour"
