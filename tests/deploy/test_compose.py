"""The compose file is one, and names only what there is: images, verbs, settings, ports, routes, volumes and files.

It was never run here: that takes a daemon and other people's images. A problem that is planted is found.
"""

import copy
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from serve.access.allow_list import ROUTES
from tests.support.absent import absent
from tests.support.deployed import (
    ROOT,
    environment_of_image,
    image_of,
    ports_of_image,
    probe_is_answered,
    problem_of_command,
    problem_of_environment,
    strings,
)

DEPLOY = ROOT / "deploy"
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
Compose = dict[str, Any]


def shipped(*names: str) -> Compose:
    """Return the compose files, one over the other as compose lays them, no variable set but those that it asks for."""
    whole: Compose = {}
    for name in names or ("compose.yaml",):
        whole = laid_over(whole, yaml.safe_load(filled((DEPLOY / name).read_text(encoding="utf-8"))))
    return whole


def laid_over(below: Any, above: Any) -> Any:
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{key: laid_over(below.get(key), value) for key, value in above.items()}}
    return above


def filled(text: str) -> str:
    """Return a text with its variables' defaults; one that is asked for gets letters."""
    return VARIABLE.sub(lambda found: "letters" if found[2] != "-" else found[3], text)


def ours(compose: Compose) -> dict[str, Any]:
    return {name: service for name, service in compose["services"].items() if "build" in service}


def parts_that_compose_refuses(compose: Compose) -> Iterator[str]:
    try:
        PyCompose.from_yaml(yaml.safe_dump(compose)).validate()
    except ValueError as error:
        yield str(error)


def references_to_nothing(compose: Compose) -> Iterator[str]:
    for name, service in compose["services"].items():
        yield from (
            f"{name} depends on {other}" for other in {*service.get("depends_on", ())} - compose["services"].keys()
        )
        for source, target, *_ in (volume.split(":") for volume in service.get("volumes", ())):
            is_given = source.startswith("./loop")
            if source.startswith("."):
                if not is_given and not (DEPLOY / source).exists():
                    yield f"{name} mounts {source}, which is not there"
            elif source not in compose["volumes"]:
                yield f"{name} mounts {source}, which is no volume"
            assert target.startswith("/")


def parts_of_ours_that_are_not_there(compose: Compose) -> Iterator[str]:
    for name, service in ours(compose).items():
        image = image_of(service["image"])
        build = service["build"]
        if image is None or build["dockerfile"] != f"deploy/containers/{image}.Containerfile":
            yield f"{name}: {build['dockerfile']} does not make {service['image']}"
            continue
        if problem := problem_of_command(service["command"]):
            yield f"{name}: {problem}"
        for published in service.get("ports", ()):
            address, _, port = published.split(":")
            if address != "127.0.0.1" or int(port) not in ports_of_image(image):
                yield f"{name}: {published} is open to others, or nobody listens there"
        for path in re.findall(
            r"http://127\.0\.0\.1:\d+(/[^'\" ]*)", " ".join(strings(service.get("healthcheck", {})))
        ):
            if not probe_is_answered(path):
                yield f"{name}: nothing answers {path}"


def wrong_settings(compose: Compose, folder: Path) -> Iterator[str]:
    for name, service in ours(compose).items():
        given = service["environment"]
        image = image_of(service["image"])
        if problem := problem_of_environment({**(environment_of_image(image) if image else {}), **given}, folder):
            yield f"{name}: {problem}"


def what_is_left_open(compose: Compose) -> Iterator[str]:
    for name, service in compose["services"].items():
        if service.get("read_only") is not True or service.get("cap_drop") != ["ALL"]:
            yield f"{name} may write to its root, or has capabilities"
        if (
            service.get("security_opt") != ["no-new-privileges:true"]
            or service.get("privileged")
            or "cap_add" in service
        ):
            yield f"{name} may gain privileges"
        if "build" not in service and not re.fullmatch(r"[1-9]\d*:[1-9]\d*", service.get("user", "")):
            yield f"{name} may run as root"
        if "build" not in service and not re.search(r":v?\d+(\.\d+)*$", service["image"]):
            yield f"{name} has an image of no version"


def problems_of(compose: Compose, folder: Path) -> list[str]:
    found = [*parts_that_compose_refuses(compose)]
    if found:
        return found  # the rest reads what has the right form
    return [
        *references_to_nothing(compose),
        *parts_of_ours_that_are_not_there(compose),
        *wrong_settings(compose, folder),
        *what_is_left_open(compose),
    ]


@pytest.mark.parametrize("names", [("compose.yaml",), ("compose.yaml", "compose.gpu.yaml")], ids=["cpu", "gpu"])
def test_the_compose_file_names_only_what_there_is(names: tuple[str, ...], tmp_path: Path) -> None:
    compose = shipped(*names)
    assert problems_of(compose, tmp_path) == []
    assert set(ours(compose)) == {"gateway", "worker", "monitor", "dashboard"}


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda s: s["gateway"].update(command=["serving"]), "`driftwheel serving`"),
        (lambda s: s["worker"]["command"].append("--twice"), "--twice"),
        (lambda s: s["gateway"]["environment"].update(DRIFTWHEEL__SERVE__PROT="1"), "did you mean serve.port?"),
        (lambda s: s["gateway"]["environment"].update(DRIFTWHEEL_KEYS="1"), "nobody reads DRIFTWHEEL_KEYS"),
        (lambda s: s["gateway"].update(ports=["127.0.0.1:80:8080"]), "nobody listens there"),
        (lambda s: s["gateway"].update(ports=["0.0.0.0:80:8000"]), "open to others"),
        (lambda s: s["monitor"].update(image="driftwheel-gateway"), "does not make driftwheel-gateway"),
        (
            lambda s: s["dashboard"]["healthcheck"]["test"].append("http://127.0.0.1:8501/health"),
            "nothing answers /health",
        ),
        (lambda s: s["gateway"]["volumes"].append("loops:/x"), "volume `loops`"),
        (lambda s: s["grafana"]["volumes"].append("./grafana/board:/x"), "which is not there"),
        (lambda s: s["grafana"].update(depends_on=["promehteus"]), "depends on promehteus"),
        (lambda s: s["grafana"].update(networks=["outer"]), "outer"),
        (lambda s: s["grafana"].update(readonly=True), "readonly"),
        (lambda s: s["postgres"].pop("user"), "may run as root"),
        (lambda s: s["postgres"].update(image="postgres:latest"), "no version"),
        (lambda s: s["worker"].pop("cap_drop"), "has capabilities"),
        (lambda s: s["worker"].update(cap_add=["SYS_ADMIN"]), "gain privileges"),
    ],
)
def test_what_there_is_not_is_found(change: Change, found: str, tmp_path: Path) -> None:
    compose = copy.deepcopy(shipped())
    change(compose["services"])
    assert found in "\n".join(problems_of(compose, tmp_path))


def test_prometheus_and_alertmanager_ask_the_parts_where_they_are() -> None:
    compose = shipped()
    prometheus = yaml.safe_load((DEPLOY / "prometheus/compose.yml").read_text(encoding="utf-8"))
    alertmanager = yaml.safe_load((DEPLOY / "alertmanager/alertmanager.yml").read_text(encoding="utf-8"))
    for job in prometheus["scrape_configs"]:
        (target,) = job["static_configs"][0]["targets"]
        service, port = target.split(":")
        image = image_of(compose["services"][service]["image"])
        assert image is not None
        assert int(port) in ports_of_image(image)
        assert job["job_name"] == f"driftwheel-{service}", "the rules ask for it by this name"
    (hook,) = (hook for receiver in alertmanager["receivers"] for hook in receiver.get("webhook_configs", ()))
    assert ROUTES[hook["url"].removeprefix("http://gateway:8000")].method == "POST"
    files = {*re.findall(r"/run/secrets/(\w+)", f"{prometheus} {alertmanager}")}
    assert files == compose["secrets"].keys()
    assert "alertmanager:9093" in str(prometheus["alerting"])


@pytest.mark.parametrize(
    "argv",
    [
        ["promtool", "check", "config", "--syntax-only", "prometheus/compose.yml"],
        ["amtool", "check-config", "alertmanager/alertmanager.yml"],
        ["amtool", "check-config", "alertmanager/example.yml"],
    ],
    ids=lambda argv: argv[0],
)
def test_their_own_programs_take_their_files(argv: list[str]) -> None:
    if shutil.which(argv[0]) is None:
        absent(argv[0], install="Debian's packages prometheus and prometheus-alertmanager")
    done = subprocess.run(argv, cwd=DEPLOY, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
