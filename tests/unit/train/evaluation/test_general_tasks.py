"""lm-eval's results become metrics with errors, and two versions' metrics what one of them forgot."""

from pathlib import Path

import pytest

from driftwheel.errors import ConfigError
from driftwheel.settings.settings import Settings
from train.asking.client import Endpoint
from train.evaluation.general_tasks import forgotten, measure_general, read_results

ENDPOINT = Endpoint(url="http://127.0.0.1:9", model="m")
RESULTS = {  # as lm-eval 0.4.13 wrote them
    "results": {
        "animals": {"name": "animals", "alias": "animals", "sample_len": 6, "acc,none": 0.5, "acc_stderr,none": 0.04},
        "lines": {"alias": "lines", "word_perplexity,none": 21.5, "word_perplexity_stderr,none": "N/A"},
    },
    "n-samples": {"animals": {"original": 8, "effective": 6}, "lines": {"original": 9, "effective": 9}},
}


def test_results_become_metrics_with_their_errors() -> None:
    assert read_results(RESULTS) == {
        "animals": {"items": 6, "acc": (0.5, 0.04)},
        "lines": {"items": 9, "word_perplexity": (21.5, None)},
    }


def test_what_was_forgotten_is_the_difference_with_the_errors_of_both() -> None:
    candidate, live = read_results(RESULTS), read_results(RESULTS)
    live |= {"animals": {"items": 6, "acc": (0.9, 0.03)}, "other": {"items": 1, "acc": (1.0, 0.0)}}
    found = forgotten(candidate, live)
    assert found["animals"]["acc"] == pytest.approx((-0.4, 0.05))
    assert found["lines"]["word_perplexity"] == (0.0, None)
    assert found.keys() == {"animals", "lines"}
    assert forgotten({}, live) == {}


def with_tasks(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update={"evaluate": settings.evaluate.model_copy(update=changes)})


def test_nothing_is_run_where_no_task_is_named(settings: Settings) -> None:
    assert measure_general(settings, ENDPOINT, Path("artifact")) is None


def test_a_python_that_does_not_exist_is_named(settings: Settings) -> None:
    chosen = with_tasks(settings, general_tasks=["animals"], lm_eval_python="nowhere/bin/python")
    with pytest.raises(ConfigError, match=r"lm_eval_python .*nowhere/bin/python does not exist"):
        measure_general(chosen, ENDPOINT, Path("artifact"))
