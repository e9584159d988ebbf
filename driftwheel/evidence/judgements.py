"""Preferences between two versions' answers, by people and by judge models: stored once, counted, and compared."""

from collections import Counter
from collections.abc import Iterable, Sequence

from driftwheel.errors import ConflictError, DataError
from driftwheel.identity import content_hash
from driftwheel.records.bookkeeping import Judgement, Preference
from driftwheel.records.nouns import ModelVersion
from driftwheel.store.ledger import Ledger

MODEL_PREFIX = "model:"


def in_order(one: ModelVersion, other: ModelVersion) -> tuple[ModelVersion, ModelVersion]:
    """Return two versions, the one with the lower number first, as judgements name them."""
    return (one, other) if one.number <= other.number else (other, one)


def record_judgement(
    ledger: Ledger,
    first: ModelVersion,
    second: ModelVersion,
    *,
    dataset_id: str,
    item_id: str,
    judge: str,
    preference: Preference,
    first_was_left: bool | None = None,
) -> Judgement:
    """Store which answer is preferred, or return what this judge said before: who knows the sides is not blind.

    Raises DataError for a nameless judge, a person with a model's name, or a first version that is the later one.
    """
    if not judge.strip():
        raise DataError("a judgement needs the name of who judged")
    if first_was_left is not None and judge.startswith(MODEL_PREFIX):
        raise DataError(f"{judge!r} is the name of a judge model; choose another one")
    if first.number >= second.number:
        raise DataError(f"a judgement names the lower version first, not v{first.number} before v{second.number}")
    row = Judgement(
        id=f"{Judgement.prefix}_{content_hash([first.project, judge, first.id, second.id, item_id])[:16]}",
        project=first.project,
        first_version_id=first.id,
        second_version_id=second.id,
        dataset_id=dataset_id,
        item_id=item_id,
        judge=judge,
        preference=preference,
        first_was_left=first_was_left,
    )
    try:
        ledger.add(row)
    except ConflictError:
        return ledger.get(Judgement, row.id)
    return row


def judgements_of(ledger: Ledger, first: ModelVersion, second: ModelVersion) -> list[Judgement]:
    """Return what was said about a pair of versions, oldest first."""
    return ledger.find(
        Judgement, project=first.project, first_version_id=first.id, second_version_id=second.id, newest_first=False
    )


def is_model(judgement: Judgement) -> bool:
    """Say whether a model judged, and not a person."""
    return judgement.first_was_left is None


def peoples_word(judgements: Iterable[Judgement]) -> dict[str, Preference]:
    """Return the preference that most people have, by item; items on which they are divided are left out."""
    votes: dict[str, Counter[Preference]] = {}
    for judgement in judgements:
        if not is_model(judgement):
            votes.setdefault(judgement.item_id, Counter())[judgement.preference] += 1
    word = {}
    for item_id, counter in votes.items():
        (best, count), *others = counter.most_common()
        if not others or count > others[0][1]:
            word[item_id] = best
    return word


def agreement(judgements: Sequence[Judgement], gold: dict[str, Preference]) -> tuple[int, int]:
    """Return on how many items judgements say what the gold says, of how many; unsure ones do not count."""
    told = [(j.preference, gold[j.item_id]) for j in judgements if j.item_id in gold]
    counted = [(said, right) for said, right in told if said is not Preference.UNSURE]
    return sum(said is right for said, right in counted), len(counted)
