"""What the doctor says of several processes and of Ray."""

import importlib.metadata
import json

import pytest

from driftwheel.cli.doctor import Finding, examine
from driftwheel.cli.main import main
from driftwheel.settings.settings import Settings


def findings(settings: Settings, **train: object) -> dict[str, Finding]:
    changed = settings.model_copy(update={"train": settings.train.model_copy(update=train)})
    return {finding.subject: finding for finding in examine(changed)}


def test_one_process_needs_no_word(settings: Settings) -> None:
    assert not {"processes", "ray"} & findings(settings).keys()


@pytest.mark.parametrize("count", [2, 64])
def test_several_processes_stand_beside_the_devices(settings: Settings, count: int) -> None:
    assert f"train.num_processes {count}" in findings(settings, num_processes=count)["processes"].text


def test_ray_is_named_with_its_version_and_cluster(settings: Settings) -> None:
    ray = findings(settings, num_processes=2, executor="ray", ray_address="head:6379")["ray"]
    assert ray.is_fine
    assert importlib.metadata.version("ray") in ray.text
    assert ray.text.endswith("cluster head:6379")


def test_each_finding_is_a_line_of_json(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["doctor", "--config", str(settings.path), "--json"])
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"python", "sqlite", "gateway port"} <= {finding["subject"] for finding in found}
    assert all(finding.keys() == {"subject", "is_fine", "text"} for finding in found)
    assert status == (0 if all(finding["is_fine"] for finding in found) else 1)
