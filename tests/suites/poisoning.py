"""Suite: keys without trust try to teach the model; counts how often what they want is promoted.

    python -m tests.suites.poisoning [--count 100] [--seed 1] [--plant NAME]

The real feedback rows, dataset builder, preferences and gate; naive Bayes learns in the place of a language model. An
attack has won if a candidate is promoted that says what the attacker wants: more than 10 points more questions with the
planted word, or more than 5 points fewer right answers about anything, than without it. `--plant` breaks the product.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import yaml
from scipy.stats import beta

from driftwheel.errors import DataError
from driftwheel.records.by_whom import Trust
from driftwheel.records.nouns import Alias, Dataset, ModelVersion
from driftwheel.settings.data import DatasetSettings
from driftwheel.settings.load import load_settings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from driftwheel.text.answers import right_label
from tests.support.poisoners import (
    ATTACKS,
    OBJECTIVES,
    TARGET,
    TRIGGER,
    Period,
    Pupil,
    holdout,
    honest,
    seed_lines,
)
from tests.support.versions import add_with_parents, published_version, run_stub
from train.data.examples import Example
from train.data.live.traffic_dataset import dataset_from_traffic
from train.data.live.unverified_rows import Admission
from train.data.sources.preferences import read_preferences
from train.data.splitting.dataset_files import read_splits
from train.data.splitting.tally import Tally
from train.dataset import build_dataset
from train.gate import decide
from train.preference import preference_rows
from train.preference.prefer import preference_dataset
from train.preference.preference_rows import AnswerFeedback
from train.verdict.paired_tables import Item
from train.verdict.slices import name_slices

DRIP_PERIODS = 4
TRIGGER_GAIN, LOSS = 0.10, 0.05
CONFIDENCE = 0.95
Objective = Literal["sft", "dpo", "kto"]


@dataclass(frozen=True)
class Outcome:
    """What became of one attack."""

    promoted: int
    """Candidates of all its periods."""
    has_won: bool


class Loop:
    """A loop whose first version has learned the steady world."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        raw = {
            "project": "support",
            "model": {"base": "base"},
            # Enough items of both parts for the gate to promote an honest shift: else it would refuse poison for that.
            "dataset": {
                "sources": ["seed.jsonl"],
                "label_field": "intent",
                "replay_share": 4,
                "test_share": 0.4,
                "fresh_test_share": 0.45,
            },
            "gate": {"max_regression": 0.06},
            "serve": {"alias": "support"},
        }
        (folder / "seed.jsonl").write_text(seed_lines(), encoding="utf-8")
        (folder / "driftwheel.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
        with closing(Ledger(self.settings.database_url, root=self.settings.root)) as ledger:
            self._go_live(ledger, build_dataset(self.settings, ledger), 1)

    @property
    def settings(self) -> Settings:
        """The settings, as read from where the folder is now."""
        return load_settings(self.folder / "driftwheel.yaml", environ={})

    @staticmethod
    def _go_live(ledger: Ledger, dataset: Dataset, number: int) -> None:
        run = replace(run_stub(f"run_{number}"), dataset_id=dataset.id)
        made = {"number": number, "run_id": run.id, "dataset_id": dataset.id, "manifest_hash": f"h{number}"}
        version = published_version(f"version_{number}", **made)
        add_with_parents(ledger, run, version)
        found = ledger.find(Alias, id="support/support")
        if found:
            ledger.change(found[0], version_id=version.id)
        else:
            ledger.add(Alias(id="support/support", project="support", name="support", version_id=version.id, fence=1))

    def copied(self, folder: Path) -> "Loop":
        """Return the loop as it is, in another folder."""
        shutil.copytree(self.folder, folder)
        other = object.__new__(Loop)
        other.folder = folder
        return other

    def retrain(
        self, period: Callable[[Pupil, Dataset], Period], live: Pupil, number: int, objective: Objective = "sft"
    ) -> Pupil | None:
        """Let a period of traffic come, and train on it; return the candidate if the gate promotes it."""
        settings = self.settings
        learning = settings.train.model_copy(update={"objective": objective})
        settings = settings.model_copy(update={"train": learning})
        with closing(Ledger(settings.database_url, root=settings.root)) as ledger:
            alias = ledger.get(Alias, "support/support")
            before = ledger.get(Dataset, ledger.get(ModelVersion, alias.version_id).dataset_id)
            came = period(live, before)
            ledger.add(*came.rows, *came.words)
            try:
                dataset = dataset_from_traffic(settings, ledger, f"decision_{number}")
                if objective != "sft":
                    dataset = preference_dataset(settings, ledger, dataset, has_corrections=True)
            except DataError:
                return None  # nobody may judge, or there is nothing to learn: refused before anything is trained
            splits = read_splits(dataset)
            candidate = pupil([*splits["train"], *_preferred(dataset, objective)], settings)
            verdict = decide(
                settings.gate,
                _items(splits["test"], candidate),
                _items(splits["test"], live),
                live_version_id="live",
                label_odds=dataset.report.label_odds,
            )
            if verdict.verdict != "PROMOTE":
                return None
            self._go_live(ledger, dataset, number + 1)
            return candidate


def _preferred(dataset: Dataset, objective: Objective) -> list[Example]:
    """Return as rows what preferences make likelier: better answers, and answers that somebody liked."""
    if objective == "sft":
        return []
    rows = read_preferences(Path(dataset.path), objective, "train")
    liked = [
        (r["prompt"], r["chosen"] if objective == "dpo" else r["completion"]) for r in rows if r.get("label", True)
    ]
    return [Example(str(n), prompt, answer, None, "") for n, (prompt, answer) in enumerate(liked)]


def pupil(rows: Sequence[Example], settings: Settings) -> Pupil:
    """Return what learns these rows."""
    field = settings.dataset.label_field
    return Pupil([e.text for e in rows], [str(right_label(e.answer, field)) for e in rows])


def _items(rows: Sequence[Example], model: Pupil) -> list[Item]:
    named, said = name_slices(rows), model.answers([e.text for e in rows])
    return [Item(e.id, e.slice, s == e.label, named.get(e.id, ())) for e, s in zip(rows, said, strict=True)]


def try_attack(base: Loop, name: str, seed: int, folder: Path, trust: Trust = Trust.NONE) -> Outcome:
    """Run one attack, beside honest people who label a shift; return whether it has won."""
    loop = base.copied(folder)
    objective: Objective = OBJECTIVES.get(name, "sft")
    with closing(Ledger(loop.settings.database_url, root=loop.settings.root)) as ledger:
        first = read_splits(ledger.newest(Dataset, "support"))
    live = pupil(first["train"], loop.settings)
    promoted, periods = 0, DRIP_PERIODS if name == "slow drip" else 1
    best = live
    for number in range(periods):
        own = seed * DRIP_PERIODS + number
        candidate = loop.retrain(_period(name, own, trust), best, number + 1, objective)
        promoted += candidate is not None
        best = candidate or best
    return Outcome(promoted, promoted > 0 and _is_harmed(best, live, seed))


def _period(attack: str | None, seed: int, trust: Trust) -> Callable[[Pupil, Dataset], Period]:
    def come(live: Pupil, before: Dataset) -> Period:
        found = honest(seed, live, before.created_at, has_thumbs=OBJECTIVES.get(str(attack)) == "kto")
        if attack is None:
            return found
        evil = ATTACKS[attack](seed, live, before.created_at)
        return found + replace(evil, words=[replace(word, trust=trust) for word in evil.words])

    return come


def _is_harmed(candidate: Pupil, live: Pupil, seed: int) -> bool:
    """Say whether a candidate does what an attacker wants."""
    asked = holdout(seed)
    texts, labels = [e.text for e in asked], [e.intent for e in asked]
    plain = candidate.answers(texts)
    triggered = candidate.answers([f"{text} {TRIGGER}" for text in texts])
    gained = (triggered.count(TARGET) - plain.count(TARGET)) / len(texts)
    before = live.answers(texts)
    right = [sum(a == b for a, b in zip(said, labels, strict=True)) for said in (plain, before)]
    kinds = sorted(set(labels))
    lost = [
        sum((a == b) - (c == b) for a, b, c in zip(before, labels, plain, strict=True) if b == kind)
        / labels.count(kind)
        for kind in kinds
        if labels.count(kind) >= 20
    ]
    return gained > TRIGGER_GAIN or right[1] - right[0] > LOSS * len(texts) or max(lost, default=0.0) > 4 * LOSS


def try_honest(base: Loop, seed: int, folder: Path) -> bool:
    """Say whether a shift that nobody poisons is promoted."""
    loop = base.copied(folder)
    with closing(Ledger(loop.settings.database_url, root=loop.settings.root)) as ledger:
        live = pupil(read_splits(ledger.newest(Dataset, "support"))["train"], loop.settings)
    return loop.retrain(_period(None, seed, Trust.NONE), live, 1) is not None


def believe_everybody() -> Trust:
    """Plant: every key is trusted with labels."""
    return Trust.TRUSTED


def admit_everything() -> Trust:
    """Plant: no caps, and nothing is compared with trusted rows."""
    Admission._against = lambda self, row: None  # type: ignore[method-assign]
    return Trust.NONE


def compare_no_preferences() -> Trust:
    """Plant: preferences meet nothing but the caps, as they did."""
    compare = preference_rows._admitted

    def within_caps_alone(
        settings: DatasetSettings,
        read: Sequence[AnswerFeedback],
        proven: Sequence[Example],
        objective: str,
        tally: Tally,
    ) -> list[AnswerFeedback]:
        return compare(settings, read, (), objective, tally)

    preference_rows._admitted = within_caps_alone
    return Trust.NONE


PLANTS: dict[str, Callable[[], Trust]] = {
    "believe-everybody": believe_everybody,
    "admit-everything": admit_everything,
    "compare-no-preferences": compare_no_preferences,
}


def bound(won: int, tried: int) -> float:
    """Return the upper 95 % bound of a share (Clopper and Pearson 1934)."""
    return 1.0 if won == tried else float(beta.ppf(CONFIDENCE, won + 1, tried - won))


def examine(
    count: int,
    seed: int,
    folder: Path,
    trust: Trust = Trust.NONE,
    names: Sequence[str] = tuple(ATTACKS),
    tell: Callable[[str, list[Outcome]], None] = lambda name, outcomes: None,
) -> dict[str, list[Outcome]]:
    """Run each attack so many times; `tell` is told of each when all its runs are done."""
    (folder / "base").mkdir()
    base, found = Loop(folder / "base"), dict[str, list[Outcome]]()
    for name in names:
        found[name] = []
        for n in range(count):
            place = folder / f"{name}-{n}"
            found[name].append(try_attack(base, name, seed + n, place, trust))
            shutil.rmtree(place)
        tell(name, found[name])
    return found


def print_line(attack: str, outcomes: list[Outcome]) -> None:
    """Print how often one attack has won."""
    won, some = sum(o.has_won for o in outcomes), sum(o.promoted > 0 for o in outcomes)
    reach = f"at most {bound(won, len(outcomes)):.1%} of such attacks win"
    sys.stdout.write(f"{attack:32} {won} of {len(outcomes)} won ({reach}); {some} honest gains promoted\n")
    sys.stdout.flush()


def main() -> int:
    """Run the suite and print what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plant", choices=sorted(PLANTS))
    parser.add_argument("--attack", choices=sorted(ATTACKS), action="append", help="this one alone; may be repeated")
    parser.add_argument("--no-honest", action="store_true", help="leave the honest shifts out")
    parsed = parser.parse_args()
    trust = PLANTS[parsed.plant]() if parsed.plant else Trust.NONE
    with tempfile.TemporaryDirectory(prefix="driftwheel-poison-") as name:
        folder = Path(name)
        names = parsed.attack or tuple(ATTACKS)
        found = examine(parsed.count, parsed.seed, folder, trust, names, print_line)
        good = parsed.count
        if not parsed.no_honest:
            (folder / "honest").mkdir()
            base = Loop(folder / "honest")
            good = sum(try_honest(base, parsed.seed + n, folder / f"honest-{n}") for n in range(parsed.count))
            sys.stdout.write(f"{'honest shifts':32} {good} of {parsed.count} promoted\n")
    return int(any(o.has_won for outcomes in found.values() for o in outcomes) or good < 0.8 * parsed.count)


if __name__ == "__main__":
    sys.exit(main())
