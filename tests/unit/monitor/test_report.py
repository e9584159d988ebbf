"""The drawn report says what was decided; Evidently runs for real, which takes seconds."""

import json
from pathlib import Path

import pytest

from examples.support.world import Phase, messages
from monitor.features import FEATURES
from monitor.observation import Observation
from monitor.report import write_report

# Evidently and its libraries warn about their own future; nothing of ours is silenced by it.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::UserWarning",
    "ignore:invalid value encountered:RuntimeWarning",
)


def observed(seed: int, phase: Phase) -> list[Observation]:
    return [
        Observation(id=str(n), prompt=e.text, answer=e.intent, label=e.intent, latency_seconds=0.1 + n / 1000)
        for n, e in enumerate(messages(60, seed, phase))
    ]


@pytest.mark.parametrize(
    ("phase", "drifted", "has_drifted"),
    [("shifted", set[str](), False), ("steady", {"prompt_words"}, True)],
    ids=["steady by the verdict", "drifted by the verdict"],
)
def test_evidentlys_tests_never_contradict_the_verdict(
    tmp_path: Path, phase: Phase, drifted: set[str], has_drifted: bool
) -> None:
    found = write_report(
        FEATURES, observed(1, "steady"), observed(2, phase), tmp_path, drifted=drifted, has_drifted=has_drifted
    )
    assert found["prompt_words"].score is not None
    tests = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["tests"]
    drift = [test for test in tests if "drift" in test["name"].lower()]
    failed = {test["name"] for test in drift if test["status"] == "FAIL"}
    assert len(drift) > 5
    assert any("prompt_words" in name for name in failed) is has_drifted
    assert not any("prompt_characters" in name for name in failed)
    assert any("share" in name.lower() or "columns" in name.lower() for name in failed) is has_drifted
