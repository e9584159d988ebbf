"""Decides whether two texts resemble one another, from the two alone, in either order.

What else is looked through plays no part: so rows that were parted as unlike are still unlike when a larger set is
checked. Two texts resemble one another if one of these holds, the strictest first:
  exact      the bytes are the same;
  folded     the same but for case, spacing, accents, punctuation, invisible or look-alike characters;
  near       the same words in any order, typos and one small word forgiven, but for `1 - similarity` of their letters;
  contained  one stands in the other, typos forgiven as above, and is at least half of it.
Of texts of more than 5,000 letters, runs of five words are compared instead.

At no similarity do the last two hold between texts that say different things in nearly the same letters:
  other numbers (`order 4471`, `order 9082`);
  a word that denies in one of the two alone (`it has arrived`, `it has not arrived`);
  a word with another beginning (`activate`, `deactivate`; `import`, `export`);
  short texts, unless it is one slip within a long word (`card lost`, `card found`; but `freeze acount`).
Where a script puts no spaces between words, a character is a word, and no other character is a typo of it.
"""

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Literal

from rapidfuzz import fuzz
from rapidfuzz.distance import OSA

from driftwheel.text.words import is_unspaced, unspaced_characters
from train.data.cleaning import folded

Kind = Literal["exact", "folded", "near", "contained"]

NUMBER = re.compile(r"\d+")
CONTAINED_CHARACTERS = 11
"""Shorter texts stand in too many others by chance; a character of a script without spaces counts as two."""
CONTAINED_SHARE = 0.5
INSERTED_CHARACTERS, INSERTED_AMONG_WORDS = 6, 3
"""One small word may be inserted anywhere (`please`, `still`), but not into a text of two words."""
TYPOS = 2
"""Words that may be mistyped in any text; in long ones it is every third."""
SHORT_CHARACTERS, SHORT_WORDS, LONG_WORD = 10, 3, 6
"""In a text of fewer letters or words, one slip within a word of so many letters is all that is forgiven."""
HEAD_CHARACTERS, TAIL_CHARACTERS = 3, 4
"""Two words are opposites if they end alike and their first letters, so many at most, differ by more than one slip."""
NEGATIONS = (
    "no not never none nobody nothing nor cannot without unable neither cant dont doesnt didnt isnt arent wasnt werent "
    "hasnt havent hadnt wont wouldnt couldnt shouldnt mustnt aint nicht nichts kein keine keinen keinem keiner keines "
    "nie niemals niemand ohne ne pas jamais sans aucun aucune rien non nunca jamas sin ninguna nada nao nem sem niet "
    "geen nooit zonder нет не ни никогда без لا لم لن ليس ليست غير بدون नहीं न मत 안 못 不 没 沒 无 無 未 勿"
)
JAPANESE_NEGATION = re.compile("な[いくか]|ません|ずに")
NO_SLIPS = "now note know can do did is are was has have had could would should on so to go"
"""One letter away from a negation, and words of their own: `can` and `cant`, `now` and `not`."""
DENYING_SIMILARITY = 0.9
"""Where only one of two texts denies, less forgiveness would pass over the word that does."""
LONGEST, RUN_WORDS = 5_000, 5
"""Texts of more letters are compared by runs of so many words: edits would take the square of their lengths, which is
minutes for a cell of a megabyte."""
NOTHING: Counter[str] = Counter()


@cache
def _negations() -> frozenset[str]:
    return frozenset(folded(word) for word in NEGATIONS.split())


class Text:
    """A text in the forms that are compared; what most texts lack takes no memory."""

    __slots__ = ("characters", "folded", "negations", "numbers", "raw", "unspaced")

    def __init__(self, raw: str) -> None:
        self.raw = raw
        self.folded = folded(raw)
        self.characters = len(self.folded) - self.folded.count(" ")
        self.unspaced = unspaced_characters(self.folded)
        self.numbers = Counter(NUMBER.findall(self.folded)) or NOTHING
        denials = [word for word in self.words if word in _negations()]
        if self.unspaced:
            denials += JAPANESE_NEGATION.findall(self.joined)
        self.negations = Counter(denials) or NOTHING

    @property
    def words(self) -> list[str]:
        """The words in their order."""
        return self.folded.split()

    @property
    def joined(self) -> str:
        """The letters without spaces, which a typo may drop or add."""
        return self.folded.replace(" ", "")

    @property
    def weight(self) -> int:
        """Its letters; a character of a script without spaces says as much as two."""
        return self.characters + self.unspaced


@lru_cache(maxsize=65_536)
def as_text(raw: str) -> Text:
    """Return a text in the forms that are compared; building a Dataset asks for those of each row about seven times."""
    return Text(raw)


def resemblance(a: Text, b: Text, similarity: float) -> Kind | None:
    """Return how two texts resemble one another, or None."""
    if a.folded == b.folded:
        return "exact" if a.raw == b.raw else "folded"
    if max(a.characters, b.characters) > LONGEST:
        return _of_long_texts(a, b, similarity)
    # Which words pair as typos may hang on the order, so there is one.
    shorter, longer = sorted((a, b), key=lambda text: (text.characters, text.folded))
    if not shorter.numbers <= longer.numbers:
        return None
    rest = _without_common(longer.words, shorter.words)
    kind: Kind | None = None
    if a.numbers == b.numbers and _is_near(longer, shorter, rest, similarity):
        kind = "near"
    elif _is_contained(shorter, longer, similarity):
        kind = "contained"
    return None if kind and _has_opposites(*rest) else kind


def _of_long_texts(a: Text, b: Text, similarity: float) -> Kind | None:
    """Return how two very long texts resemble one another, by the runs of words that they share: in linear time."""
    if a.folded == b.folded:
        return "exact" if a.raw == b.raw else "folded"
    shorter, longer = sorted((_runs(text.words) for text in (a, b)), key=Counter.total)
    total, shared = shorter.total(), (shorter & longer).total()
    # A word that is changed is in each of the runs that it is part of.
    least = 1 - RUN_WORDS * (1 - similarity)
    if not total or shared < least * total or total < CONTAINED_SHARE * longer.total():
        return None
    differing, allowed = longer.total() - shorter.total(), (1 - similarity) * (longer.total() + total)
    return "near" if differing <= allowed and shared >= least * longer.total() else "contained"


def _runs(words: Sequence[str]) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(RUN_WORDS)), strict=False))


Rest = tuple[list[str], list[str]]
"""The words of each of two texts that the other does not have."""


def _is_near(longer: Text, shorter: Text, rest: Rest, similarity: float) -> bool:
    """Ask whether the words agree, or, where a typo joined or parted words, the letters."""
    total = longer.characters + shorter.characters
    allowed = (1 - similarity) * total / 2
    if longer.characters - shorter.characters > max(INSERTED_CHARACTERS, 2 * allowed):
        return False
    if longer.negations != shorter.negations and not _is_typing(*rest):
        return False
    fewest = min(len(longer.words), len(shorter.words))
    if shorter.weight < SHORT_CHARACTERS or fewest < SHORT_WORDS:
        return _is_one_slip(*rest)
    edits = max(1, min(TYPOS, int(allowed)), int(allowed / 2))
    has_letters = not longer.unspaced and not shorter.unspaced
    if has_letters and OSA.distance(longer.joined, shorter.joined, score_cutoff=edits) <= edits:
        return True
    typos = max(TYPOS, len(longer.words) // 3)
    if len(rest[0]) + len(rest[1]) > 2 * typos + max(1, allowed):
        return False
    left_a, left_b = _without_typos(*rest, typos)
    if sum(map(len, left_a + left_b)) <= allowed:
        return True
    inserted = left_a + left_b if not left_a or not left_b else []
    is_one_word = len(inserted) == 1 and len(inserted[0]) <= INSERTED_CHARACTERS and not is_unspaced(inserted[0])
    return is_one_word and fewest >= INSERTED_AMONG_WORDS


def _is_one_slip(rest_a: Sequence[str], rest_b: Sequence[str]) -> bool:
    """Ask whether all that differs, if anything does, is one slip after the first letter of one long word."""
    if len(rest_a) != 1 or len(rest_b) != 1:
        return not rest_a and not rest_b
    a, b = rest_a[0], rest_b[0]
    return min(len(a), len(b)) >= LONG_WORD and a[0] == b[0] and OSA.distance(a, b, score_cutoff=1) <= 1


def _is_typing(rest_a: Sequence[str], rest_b: Sequence[str]) -> bool:
    """Ask whether a negation that only one text has is there in the other too, with a typo or without its space."""
    if sorted("".join(rest_a)) == sorted("".join(rest_b)):
        return True
    return all(
        any(_is_typo(word, other) for other in others if other not in NO_SLIPS.split())
        for own, others in ((rest_a, rest_b), (rest_b, rest_a))
        for word in own
        if word in _negations()
    )


def _has_opposites(rest_a: list[str], rest_b: list[str]) -> bool:
    """Ask whether a word of one has another beginning in the other, and is not only joined with the word before it."""
    left_a, left_b = _without_typos(rest_a, rest_b, len(rest_a))
    for one in left_a:
        for other in left_b:
            if one[-1] == other[-1] and _are_opposites(one, other):
                begun, whole = (one, rest_b) if one.endswith(other) else (other, rest_a)
                if begun[: abs(len(one) - len(other))] not in whole:
                    return True
    return False


def _are_opposites(one: str, other: str) -> bool:
    tail, shorter = 0, min(len(one), len(other))
    while tail < shorter and one[-tail - 1] == other[-tail - 1]:
        tail += 1
    heads = one[: len(one) - tail], other[: len(other) - tail]
    # `fit` within `unfit` may be a letter shorter than `port` after `im` and `ex`, where two typos would do the same.
    if tail < (TAIL_CHARACTERS if all(heads) else TAIL_CHARACTERS - 1) or max(map(len, heads)) > HEAD_CHARACTERS:
        return False
    return OSA.distance(*heads) >= 2 and sorted(heads[0]) != sorted(heads[1])


def _without_common(a: Sequence[str], b: Sequence[str]) -> Rest:
    """Return the words of each that the other does not have."""
    return _without(a, Counter(b)), _without(b, Counter(a))


def _without(words: Sequence[str], others: Counter[str]) -> list[str]:
    """Return the words that are left when each of the others has taken its first like; it empties the others."""
    rest = []
    for word in words:
        if others[word] > 0:
            others[word] -= 1
        else:
            rest.append(word)
    return rest


def _without_typos(rest_a: list[str], rest_b: list[str], typos: int) -> Rest:
    """Return the words of each that are no typo of one of the other's; at most that many may be typos."""
    left_a, left_b = [], list(rest_b)
    for word in rest_a:
        partner = next((other for other in left_b if _is_typo(word, other)), None) if typos else None
        if partner is None:
            left_a.append(word)
        else:
            left_b.remove(partner)
            typos -= 1
    return left_a, left_b


def _is_typo(a: str, b: str) -> bool:
    shorter, longer = sorted((len(a), len(b)))
    edits = 2 if shorter >= 8 else 1
    if longer < 2 or longer - shorter > edits or is_unspaced(a) or is_unspaced(b):
        return False
    return OSA.distance(a, b, score_cutoff=edits) <= edits and not _are_opposites(a, b)


def _is_contained(shorter: Text, longer: Text, similarity: float) -> bool:
    characters = shorter.characters
    if shorter.weight < CONTAINED_CHARACTERS or characters < CONTAINED_SHARE * longer.characters:
        return False
    if shorter.unspaced:
        before, stands, _ = longer.joined.partition(shorter.joined)
        return bool(stands) and (shorter.negations == longer.negations or before[-1:] not in _negations())
    if shorter.negations == longer.negations:
        least = _least_ratio(characters, similarity)
        return bool(fuzz.partial_ratio(shorter.joined, longer.joined, score_cutoff=least))
    least = _least_ratio(characters, max(similarity, DENYING_SIMILARITY))
    found = fuzz.partial_ratio_alignment(shorter.joined, longer.joined, score_cutoff=least)
    if found is None:
        return False
    return _is_typing(*_without_common(shorter.words, _words_within(longer, found.dest_start, found.dest_end)))


def _least_ratio(characters: int, similarity: float) -> float:
    return 100 * (1 - max((1 - similarity) / 2, 1 / characters)) - 0.01


def _words_within(text: Text, start: int, end: int) -> list[str]:
    """Return the words of which at least half lies between two places of the joined letters."""
    at, found = 0, []
    for word in text.words:
        if start <= at + len(word) / 2 <= end:
            found.append(word)
        at += len(word)
    return found
