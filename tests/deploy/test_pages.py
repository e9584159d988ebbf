"""The lines of the papers that take a container engine or a cluster name only what deploy/ holds."""

import shlex

import yaml

from tests.docs.papers import blocks, pages
from tests.support.deployed import ROOT, image_of, problem_of_command

DEPLOY = ROOT / "deploy"
SHELL = ("cd", "export", "mkdir")
CREATED = ("namespace", "driftwheel")


def problem_of(words: list[str]) -> str | None:
    """Say what a line names that is not there, or None."""
    match words:
        case ["podman", "build", "-f", file, "-t", tag, "."]:
            return None if file == f"deploy/containers/{image_of(tag)}.Containerfile" else f"{file} does not make {tag}"
        case ["docker", "compose", "run", "--rm", service, *rest]:
            services = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
            return problem_of_command(rest) if service in services else f"there is no service {service}"
        case ["docker", "compose", "up", "--detach"] | ["kubectl", "apply", "-k", "."]:
            return None
        case ["kubectl", "create", *what] if tuple(what) == CREATED:
            return None
        case ["kubectl", "-n", "driftwheel", "create", "secret", "generic", name, literal]:
            key = literal.removeprefix("--from-literal=").partition("=")[0]
            return None if f"{{name: {name}, key: {key}}}" in manifests() else f"nobody reads {key} of {name}"
        case ["kubectl", "label", "namespace", _, label]:
            name, _, value = label.partition("=")
            return None if f'{name}: "{value}"' in manifests() else f"nobody asks for {label}"
    return None if words[0] in SHELL else f"not known here: {shlex.join(words)}"


def manifests() -> str:
    """Return all manifests as one text."""
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted((DEPLOY / "kubernetes").rglob("*.yaml")))


def test_the_lines_about_deployment_name_only_what_there_is() -> None:
    lines = [words for page in pages() for block in blocks(page) if block.kind == "deploy" for words in block.commands]
    assert len(lines) > 10
    assert [problem for words in lines if (problem := problem_of(words))] == []


def test_a_line_that_names_what_is_not_there_is_noticed() -> None:
    for line in (
        "podman build -f deploy/containers/monitor.Containerfile -t driftwheel-gateway .",
        "docker compose run --rm workers keys list",
        "docker compose run --rm worker key lists",
        "kubectl -n driftwheel create secret generic driftwheel-keys --from-literal=key=x",
        "kubectl label namespace monitoring driftwheel/scraper=yes",
        "helm install driftwheel",
    ):
        assert problem_of(shlex.split(line)) is not None, line
