"""The search space of the tune section, and how a trial's values are set in the settings."""

import itertools
import json
import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from driftwheel.errors import ConfigError
from driftwheel.settings.load import load_settings
from driftwheel.settings.training import Range, TrainSettings, TuneSettings

GRID_POINTS = 5
"""Values that a grid takes of a range without a step: both ends, and three between."""
Space = Mapping[str, Range | list[Any]]
TrialValues = dict[str, Any]
"""Settings of the train section, by name, as one trial has them."""


def search_space(tune: TuneSettings, train: TrainSettings) -> Space:
    """Return the space of the settings, or the usual four around what is set now."""
    if tune.space:
        return tune.space
    space: dict[str, Range | list[Any]] = {
        # A learning rate matters by its order of magnitude, so it is drawn on a logarithmic scale.
        "learning_rate": Range(low=train.learning_rate / 10, high=min(1.0, train.learning_rate * 10), log=True),
        "warmup_steps": Range(low=0.0, high=0.2),
    }
    if train.max_steps <= 0:
        space["num_train_epochs"] = Range(low=1, high=max(2, math.ceil(2 * train.num_train_epochs)))
    if train.method != "full":
        space["lora_r"] = [8, 16, 32, 64]
    return space


def grid(space: Space) -> list[TrialValues]:
    """Return every combination of values; a range without a step is cut at five points, its ends among them."""
    axes = [choices if isinstance(choices, list) else _points(choices) for choices in space.values()]
    return [dict(zip(space, point, strict=True)) for point in itertools.product(*axes)]


def _points(values: Range) -> list[Any]:
    low, high = float(values.low), float(values.high)
    if values.step is not None:
        # 1e-9, because (0.3 - 0.1) / 0.1 is 1.9999999999999998 and would lose the last point.
        points = [low + i * values.step for i in range(int((high - low) / values.step + 1e-9) + 1)]
    elif values.log:
        points = [low * (high / low) ** (i / (GRID_POINTS - 1)) for i in range(GRID_POINTS)]
        points[-1] = high
    else:
        points = [low + i * (high - low) / (GRID_POINTS - 1) for i in range(GRID_POINTS)]
    return sorted({round(p) for p in points}) if is_whole(values) else points


def is_whole(values: Range) -> bool:
    """Say whether a range holds whole numbers only."""
    return all(isinstance(v, int) for v in (values.low, values.high, values.step or 1))


def with_values(train: TrainSettings, values: Mapping[str, Any]) -> TrainSettings:
    """Return the train section of a trial; raises ConfigError for a value outside of its setting's range.

    A searched rank takes `lora_alpha` along, unless that is searched too: otherwise a larger rank would also mean a
    smaller step, and the search would learn about neither.
    """
    changes = dict(values)
    if "lora_r" in values and "lora_alpha" not in values:
        changes["lora_alpha"] = max(1, round(train.lora_alpha * values["lora_r"] / train.lora_r))
    try:
        return TrainSettings(**{**train.model_dump(), **changes})
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:  # a rule between several keys
            raise ConfigError(f"tune.space: {first['msg'].removeprefix('Value error, ')}") from error
        raise ConfigError(f"tune.space.{first['loc'][0]}: {first['msg']} (got {first['input']!r})") from error


def as_flags(path: Path, chosen: TrainSettings) -> str:
    """Return the command-line flags that turn the train section of a settings file into the chosen one."""
    written, wanted = load_settings(path).train.model_dump(), chosen.model_dump()
    changed = {key: value for key, value in wanted.items() if value != written[key]}
    return " ".join(f"--set {shlex.quote(f'train.{key}={_plain(value)}')}" for key, value in changed.items())


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
