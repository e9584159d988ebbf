"""What the doctor says of several processes and of Ray, and of the packages of stages that are not on a machine."""

import importlib.metadata
import json

import pytest

from driftwheel.cli.doctor import FLOORS, SIGNS, examine, installed_stages
from driftwheel.cli.finding import Finding
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
    assert all(finding.keys() == {"subject", "is_fine", "text", "stages", "is_needed"} for finding in found)
    assert status == (0 if all(finding["is_fine"] or not finding["is_needed"] for finding in found) else 1)


@pytest.fixture
def only_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this look like a machine on which the gateway's packages are installed, and no other stage's."""
    real = importlib.metadata.version
    others = {name for stage, floors in FLOORS.items() if stage != "serve" for name in floors}

    def version(name: str) -> str:
        if name in others:
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)


def test_every_stage_has_a_sign_among_its_packages() -> None:
    assert {stage for stage, package in SIGNS.items() if package in FLOORS[stage]} == {*FLOORS}


@pytest.mark.usefixtures("only_serve")
def test_a_machine_with_one_stage_lacks_nothing_of_the_others(settings: Settings) -> None:
    assert installed_stages() == ["serve"]
    found = {finding.subject: finding for finding in examine(settings)}
    for name in ("torch", "evidently", "streamlit"):
        assert not found[name].is_fine
        assert found[name].mark == "unused"
    assert found["torch"].stages == ("train",)
    assert "'.[train]'" in found["torch"].text
    assert found["httptools"].mark == "ok"


@pytest.mark.usefixtures("only_serve")
def test_a_stage_that_is_asked_for_is_missed(settings: Settings) -> None:
    found = {finding.subject: finding for finding in examine(settings, ["monitor"])}
    assert found["evidently"].is_missing
    assert found["evidently"].mark == "MISSING"
    assert not found["torch"].is_missing


def test_a_gateway_of_engines_elsewhere_needs_no_vllm_here(settings: Settings) -> None:
    serve = settings.serve.model_copy(update={"engines": ["http://127.0.0.1:1"]})
    elsewhere = settings.model_copy(update={"serve": serve})
    for changed, is_needed in ((settings, True), (elsewhere, False)):
        (vllm,) = [finding for finding in examine(changed, ["serve"]) if finding.subject == "vllm"]
        assert vllm.is_needed is is_needed
