"""The forge's workflow, `.ci/run` and the hooks before a commit run what `make` runs."""

import json
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
WORKFLOW: dict[Any, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))


def test_the_workflow_runs_the_commands_of_ci_in_their_order() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    commands = [line.removeprefix("time ") for line in lines if line.startswith((".ci/", "time "))]
    (job,) = WORKFLOW["jobs"].values()
    assert commands[-2:] == ["make check", "make test"]
    assert [step["run"] for step in job["steps"] if "run" in step] == commands


def test_the_workflow_may_read_and_nothing_else() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    (job,) = WORKFLOW["jobs"].values()
    assert "permissions" not in job
    assert [step["with"] for step in job["steps"] if "uses" in step] == [{"persist-credentials": False}]


def test_each_check_of_make_is_a_hook_and_no_hook_names_a_version_of_its_own() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert repository["repo"] == "local"
    entries = " ".join(hook["entry"] for hook in repository["hooks"])
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.split("\ncheck:")[1].split("\n\n")[0]
    tools = {line.split()[0].removeprefix("$(BIN)/") for line in recipe.splitlines() if line.startswith("\t$(BIN)/")}
    assert {"ruff", "mypy", "lint-imports"} <= tools
    assert [tool for tool in tools if tool not in entries] == []


def test_the_development_container_is_the_image_of_the_workflow() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    (job,) = WORKFLOW["jobs"].values()
    assert container["image"] == job["container"]
    assert container["onCreateCommand"] == ".ci/packages && make setup"
