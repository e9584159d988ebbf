"""Tries prompts on a version: one engine is asked the same validation rows after each of them, and after none.

The rows are not those of the test split: whoever tries ten prompts and keeps the best has fitted it to the rows that
were asked, and the gate then judges the one that is published on rows that nobody chose by.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

from driftwheel.errors import DataError, EngineError
from driftwheel.evidence.bounded_means import mean_interval
from driftwheel.evidence.intervals import Interval, paired_interval
from driftwheel.records.nouns import Dataset, ModelVersion
from driftwheel.records.predictions import Prediction
from driftwheel.records.scorecard import Scorecard, Task
from driftwheel.settings.data import DatasetSettings
from driftwheel.settings.settings import Settings
from driftwheel.text.grades import Criterion
from train.asking.client import Endpoint
from train.asking.engine_child import engine
from train.data.examples import NEW, Example
from train.data.splitting.dataset_files import read_splits
from train.data.splitting.leaks import HeldOut
from train.evaluation.criterion_choice import choose_criterion, refuse_costs
from train.evaluation.graded_rows import ask_rows
from train.evaluation.scores import score
from train.evaluation.scoring import learned_answers, read_split, sample, task_of
from train.prompts.prompt_file import Prompt, with_prompt

NO_PROMPT = "no prompt"
LONG = 20
"""Characters of a question that do not stand in instructions by chance."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What one prompt scored."""

    prompt: str
    """Its name."""
    criterion: Criterion
    scores: Scorecard = field(default_factory=Scorecard)
    difference: float | None = None
    """Of the mean grades, the prompt's less no prompt's, from -1 to 1; None for no prompt itself."""
    interval: Interval | None = None
    """Its 95 % interval."""
    note: str | None = None
    """Why it could not be asked."""

    @property
    def outcome(self) -> float | None:
        """The mean grade, or the accuracy where answers are right or wrong."""
        return self.scores.accuracy if self.criterion == "right" else self.scores.grade


def refuse_shown(settings: DatasetSettings, dataset: Dataset, prompts: Mapping[str, Prompt]) -> None:
    """Raise DataError if a prompt shows rows that are to judge it: its answers would be copied and not found."""
    splits = read_splits(dataset)
    judging = [*splits["validation"], *splits["test"]]
    held_out = HeldOut(judging, settings.near_duplicate_similarity, shared=dataset.report.shared)
    for name, prompt in prompts.items():
        shown = [_as_row(f"{name}, example {number}", shot.prompt) for number, shot in enumerate(prompt.examples, 1)]
        for leak in held_out.leaks(shown):
            raise DataError(f"{leak}, which is to judge it; show other examples, such as training rows")
        told = [row.text for row in judging if len(row.text) >= LONG and row.text in prompt.instructions]
        if told:
            raise DataError(f"the instructions of {name} hold {told[0][:60]!r}, which is to judge it; leave it out")


def _as_row(name: str, text: str) -> Example:
    return Example(name, [{"role": "user", "content": text}], [], label=None, group=name)


def try_prompts(
    settings: Settings,
    dataset: Dataset,
    version: ModelVersion,
    prompts: Mapping[str, Prompt],
    endpoint: Endpoint | None = None,
) -> list[Trial]:
    """Ask a version's model the validation rows after each prompt; the first trial is that of none.

    The model is served by an engine of its own, or by a given endpoint.
    Raises DataError for a prompt that shows such rows, ConfigError where a judge would be asked too often, EngineError
    if the engine does not start.
    """
    refuse_shown(settings.dataset, dataset, prompts)
    rows = asked_rows(read_split(dataset, "validation"), settings.evaluate.max_items, settings.dataset.seed)
    learned = learned_answers(read_split(dataset, "train"))
    criterion = choose_criterion(settings.evaluate, settings.dataset.label_field, learned)
    refuse_costs(settings.evaluate, criterion, len(rows) * (len(prompts) + 1), with_baseline=False)
    # By place: a prompt's name is its file's, which may well be `no prompt`.
    asked: list[tuple[str, list[Prediction] | str]] = []
    with nullcontext(endpoint) if endpoint else engine(settings, ["--artifact", version.path]) as own:
        for name, prompt in ((NO_PROMPT, Prompt()), *prompts.items()):
            conversations = [with_prompt(prompt, row.prompt) for row in rows]
            label_field = settings.dataset.label_field
            try:
                answers: list[Prediction] | str = ask_rows(
                    settings.evaluate, settings.serve, label_field, own, criterion, rows, conversations, name
                )
            except EngineError as error:  # such as a prompt that is longer than the model's context
                if not asked:
                    raise
                answers = str(error)
            asked.append((name, answers))
    task = task_of(settings.evaluate, rows)
    without = asked[0][1]
    return [_trial(name, items, without, task, criterion) for name, items in asked]


def asked_rows(rows: Sequence[Example], most: int, seed: int) -> list[Example]:
    """Return at most that many of the rows; of a retrain's no more replayed ones than new ones, which they outnumber.

    Else a prompt that helps with what was asked before the shift would win over one that helps with what is asked now.
    """
    new = [row for row in rows if row.slice == NEW]
    replayed = [row for row in rows if row.slice != NEW]
    kept = {row.id for row in (*new, *(sample(replayed, len(new), seed) if new else replayed))}
    return sample([row for row in rows if row.id in kept], most, seed)


def _trial(
    name: str,
    items: list[Prediction] | str,
    without: list[Prediction] | str,
    task: Task,
    criterion: Criterion,
) -> Trial:
    if isinstance(items, str) or isinstance(without, str):
        return Trial(prompt=name, criterion=criterion, note=str(items))
    scores = score(items, task, criterion)
    if items is without:
        return Trial(prompt=name, criterion=criterion, scores=scores)
    difference, interval = compare(items, without, criterion)
    return Trial(prompt=name, criterion=criterion, scores=scores, difference=difference, interval=interval)


def compare(
    after: Sequence[Prediction], before: Sequence[Prediction], criterion: Criterion
) -> tuple[float | None, Interval | None]:
    """Return the mean difference of the grades of the same items, and its 95 % interval; None without any grade."""
    pairs = [
        (a.grade, b.grade) for a, b in zip(after, before, strict=True) if a.grade is not None and b.grade is not None
    ]
    if not pairs:
        return None, None
    differences = [a - b for a, b in pairs]
    if criterion == "right":
        gained, lost = differences.count(1.0), differences.count(-1.0)
        return (gained - lost) / len(pairs), paired_interval(gained, lost, len(pairs))
    return sum(differences) / len(pairs), mean_interval(differences, low=-1.0)
