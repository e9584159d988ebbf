"""The manifests are what Kubernetes takes, are held to its restricted rules, and name only what there is.

They are checked by the schemas of Kubernetes' own resources, strictly and offline; those of the Prometheus operator by
the small schema below, which holds what is used of them. They have never run on a cluster.
"""

import copy
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from driftwheel.errors import ConfigError
from driftwheel.settings.load import load_settings
from driftwheel.settings.serving import ServeSettings
from serve.engines.vllm_command import vllm_command
from tests.support.absent import absent
from tests.support.deployed import (
    ROOT,
    USER,
    environment_of_image,
    image_of,
    ports_of_image,
    probe_is_answered,
    problem_of_command,
    problem_of_environment,
)

MANIFESTS = ROOT / "deploy" / "kubernetes"
VARIANTS = ("single-node", "cluster", "single-node-gpu", "cluster-gpu")
VERSION = "1.33"
ENGINE_HEALTH = "/health"
"""vLLM's own."""
Resource = dict[str, Any]


def closed(**properties: object) -> dict[str, object]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def many(item: object) -> dict[str, object]:
    return {"type": "array", "items": item, "minItems": 1}


TEXT = {"type": "string"}
TEXTS = {"type": "object", "additionalProperties": TEXT}
SCRAPED = closed(
    port=TEXT,
    path=TEXT,
    interval=TEXT,
    authorization=closed(credentials=closed(name=TEXT, key=TEXT)),
    relabelings=many(closed(targetLabel=TEXT, replacement=TEXT)),
)
RULE = {
    **closed(record=TEXT, alert=TEXT, expr=TEXT, labels=TEXTS, annotations=TEXTS),
    "required": ["expr"],
}
RULE["properties"] = {**RULE["properties"], "for": TEXT}  # type: ignore[dict-item]
OPERATOR = {
    "ServiceMonitor": closed(selector=closed(matchLabels=TEXTS), endpoints=many(SCRAPED)),
    "PrometheusRule": closed(groups=many(closed(name=TEXT, rules=many(RULE)))),
}
"""Of monitoring.coreos.com/v1: what is used here, under the names of the operator's API reference."""


@cache
def rendered(variant: str) -> list[Resource]:
    """Return what `kubectl apply -k` would send."""
    if shutil.which("kubectl") is None:
        absent("kubectl", install="https://kubernetes.io/docs/tasks/tools; version 1.27 or newer, for its kustomize")
    argv = ["kubectl", "kustomize", str(MANIFESTS / variant)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "it warns of what is no longer to be used"
    return [*yaml.safe_load_all(done.stdout)]


def of_kind(resources: list[Resource], *kinds: str) -> dict[str, Resource]:
    return {r["metadata"]["name"]: r for r in resources if r["kind"] in kinds}


def pods(resources: list[Resource]) -> dict[str, Resource]:
    return {name: r["spec"]["template"] for name, r in of_kind(resources, "Deployment", "StatefulSet").items()}


@cache
def refusal(resource: str) -> str | None:
    """Say what Kubernetes has against a resource, as JSON; most of them are the same in every variant."""
    read = json.loads(resource)
    try:
        if read["apiVersion"] == "monitoring.coreos.com/v1":
            jsonschema.validate(read["spec"], OPERATOR[read["kind"]])
        else:
            kubernetes_validate.validate(read, VERSION, strict=True)
    except (kubernetes_validate.ValidationError, jsonschema.ValidationError) as error:
        return f"{read['kind']} {read['metadata']['name']}: {error.message}"
    return None


def what_kubernetes_refuses(resources: list[Resource]) -> Iterator[str]:
    yield from (reason for resource in resources if (reason := refusal(json.dumps(resource))) is not None)


def what_the_restricted_rules_forbid(resources: list[Resource]) -> Iterator[str]:
    namespace = of_kind(resources, "Namespace")["driftwheel"]
    if namespace["metadata"]["labels"].get("pod-security.kubernetes.io/enforce") != "restricted":
        yield "the namespace is not restricted"
    for name, pod in pods(resources).items():
        spec = pod["spec"]
        whole = spec.get("securityContext", {})
        if (
            not whole.get("runAsNonRoot")
            or whole.get("runAsUser") != USER
            or whole.get("seccompProfile") != {"type": "RuntimeDefault"}
        ):
            yield f"{name} may run as root, or without a filter of system calls"
        if spec.get("automountServiceAccountToken") is not False or spec.get("hostNetwork") or spec.get("hostPID"):
            yield f"{name} reaches the cluster or its node"
        for container in [*spec["containers"], *spec.get("initContainers", ())]:
            own = {**container.get("securityContext", {})}
            if own != {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }:
                yield f"{name}: {container['name']} is not shut off"
            if not {"cpu", "memory"} <= container["resources"]["requests"].keys() or (
                "memory" not in container["resources"]["limits"]
            ):
                yield f"{name}: {container['name']} is promised nothing, or may take all"


def references_to_nothing(resources: list[Resource]) -> Iterator[str]:
    labels = [{**pod["metadata"]["labels"]} for pod in pods(resources).values()]
    ports = {
        port["name"]
        for pod in pods(resources).values()
        for c in pod["spec"]["containers"]
        for port in c.get("ports", ())
    }
    selectors = [(r, r["spec"]["selector"]) for r in of_kind(resources, "Service").values()]
    selectors += [
        (r, r["spec"]["podSelector"].get("matchLabels", {})) for r in of_kind(resources, "NetworkPolicy").values()
    ]
    selectors += [(r, r["spec"]["selector"]["matchLabels"]) for r in of_kind(resources, "PodDisruptionBudget").values()]
    for resource, selector in selectors:
        if not any(selector.items() <= of_pod.items() for of_pod in labels):
            yield f"{resource['kind']} {resource['metadata']['name']} chooses no pod"
    targets = [port["targetPort"] for r in of_kind(resources, "Service").values() for port in r["spec"]["ports"]]
    policies = of_kind(resources, "NetworkPolicy").values()
    targets += [port["port"] for r in policies for rule in r["spec"].get("ingress", ()) for port in rule["ports"]]
    yield from (f"there is no port named {port}" for port in set(targets) - ports)
    services = of_kind(resources, "Service").values()
    for monitor in of_kind(resources, "ServiceMonitor").values():
        wanted = monitor["spec"]["selector"]["matchLabels"]
        chosen = [s for s in services if wanted.items() <= s["metadata"].get("labels", {}).items()]
        (endpoint,) = monitor["spec"]["endpoints"]
        if [port["name"] for s in chosen for port in s["spec"]["ports"]] != [endpoint["port"]]:
            yield f"ServiceMonitor {monitor['metadata']['name']} scrapes nothing"
    budget = of_kind(resources, "PodDisruptionBudget").get("gateway")
    if budget and budget["spec"]["minAvailable"] >= of_kind(resources, "Deployment")["gateway"]["spec"]["replicas"]:
        yield "no node could be emptied: the budget allows no gateway to go"
    maps = of_kind(resources, "ConfigMap").keys()
    claims = of_kind(resources, "PersistentVolumeClaim").keys()
    for name, pod in pods(resources).items():
        given = {volume["name"] for volume in pod["spec"]["volumes"]}
        owner = of_kind(resources, "StatefulSet").get(name)
        given |= {claim["metadata"]["name"] for claim in owner["spec"]["volumeClaimTemplates"]} if owner else set()
        mounted = {mount["name"] for c in pod["spec"]["containers"] for mount in c["volumeMounts"]}
        yield from (f"{name}: {volume} is mounted nowhere, or is no volume" for volume in given ^ mounted)
        for volume in pod["spec"]["volumes"]:
            if volume.get("configMap", {"name": next(iter(maps))})["name"] not in maps:
                yield f"{name}: there is no ConfigMap for {volume['name']}"
            if volume.get("persistentVolumeClaim", {"claimName": None})["claimName"] not in {*claims, None}:
                yield f"{name}: there is no claim for {volume['name']}"


def parts_of_ours_that_are_not_there(resources: list[Resource], folder: Path) -> Iterator[str]:
    for name, pod in pods(resources).items():
        (container,) = pod["spec"]["containers"]
        image = image_of(container["image"])
        if image is None:
            yield f"{name}: no Containerfile makes {container['image']}"
            continue
        is_engine = "command" in container
        words = [*container.get("command", ()), *container["args"]]
        problem = problem_of_engine(words) if is_engine else problem_of_command(words)
        if problem:
            yield f"{name}: {problem}"
        given = {entry["name"]: entry.get("value", "postgresql://user:word@host/name") for entry in container["env"]}
        given = {key: value for key, value in given.items() if key != "DRIFTWHEEL_API_KEYS"}
        if problem := problem_of_environment({**environment_of_image(image), **given}, folder):
            yield f"{name}: {problem}"
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
        if not set(ports.values()) <= ports_of_image(image):
            yield f"{name}: nobody listens at one of {ports}"
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe = container.get(kind, {})
            at = probe.get("httpGet") or probe.get("tcpSocket")
            if at and at["port"] not in ports:
                yield f"{name}: {kind} asks port {at['port']}"
            if path := probe.get("httpGet", {}).get("path"):
                if path != ENGINE_HEALTH if is_engine else not probe_is_answered(path):
                    yield f"{name}: nothing answers {path}"
                if kind == "livenessProbe" and path == "/readyz":
                    yield f"{name}: a gateway without an engine would be killed"


def problem_of_engine(words: list[str]) -> str | None:
    """Say how a command of an engine differs in kind from the one that the gateway gives its own engines."""
    own = vllm_command(ServeSettings(), "/nowhere", "name", 1)
    if words[1:4] != own[1:4]:
        return f"{words[:4]} is not how an engine is started: {own[:4]}"
    flags = {word.split("=")[0] for word in words if word.startswith("--")}
    return f"no engine of the gateway's is given {flags - {*own}}" if flags - {*own} else None


def wrong_settings(resources: list[Resource], folder: Path) -> Iterator[str]:
    for name, config in of_kind(resources, "ConfigMap").items():
        if "driftwheel.yaml" not in config["data"]:
            continue
        path = folder / "settings.yaml"
        path.write_text(config["data"]["driftwheel.yaml"], encoding="utf-8")
        try:
            settings = load_settings(path, environ={})
        except ConfigError as error:
            yield f"{name}: {error}"
            continue
        known = of_kind(resources, "Service")
        for url in settings.serve.engines:
            host, port = url.removeprefix("http://").split(":")
            if host not in known or int(port) not in {p["port"] for p in known[host]["spec"]["ports"]}:
                yield f"{name}: there is no engine at {url}"


def problems_of(resources: list[Resource], folder: Path) -> list[str]:
    found = [*what_kubernetes_refuses(resources)]
    if found:
        return found  # the rest reads what has the right form
    return [
        *what_the_restricted_rules_forbid(resources),
        *references_to_nothing(resources),
        *parts_of_ours_that_are_not_there(resources, folder),
        *wrong_settings(resources, folder),
    ]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_manifests_name_only_what_there_is(variant: str, tmp_path: Path) -> None:
    assert problems_of(rendered(variant), tmp_path) == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_who_runs_engines_or_trains_gets_a_gpu_and_the_image_for_it(variant: str) -> None:
    of_engines = {
        name: container
        for name, pod in pods(rendered(variant)).items()
        for container in pod["spec"]["containers"]
        if container["image"].startswith("driftwheel-engine")
    }
    assert of_engines.keys() == ({"loop"} if "single" in variant else {"engine-a", "engine-b", "worker"})
    with_gpu = {name for name, c in of_engines.items() if c["resources"]["limits"].get("nvidia.com/gpu") == 1}
    assert with_gpu == (of_engines.keys() if "gpu" in variant else set())
    assert {c["image"] for c in of_engines.values()} == {f"driftwheel-engine:{'gpu' if 'gpu' in variant else 'cpu'}"}


Change = Callable[[dict[str, Any]], object]


def first(resource: Resource) -> dict[str, Any]:
    container: dict[str, Any] = resource["spec"]["template"]["spec"]["containers"][0]
    return container


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda r: first(r["Deployment gateway"]).update(args=["gateways"]), "`driftwheel gateways`"),
        (lambda r: first(r["Deployment gateway"]).update(arg=["serve"]), "arg"),
        (lambda r: first(r["Deployment gateway"]).update(image="driftwheel-gate"), "no Containerfile makes"),
        (
            lambda r: first(r["Deployment gateway"])["livenessProbe"]["httpGet"].update(path="/health"),
            "nothing answers /health",
        ),
        (
            lambda r: first(r["Deployment gateway"])["livenessProbe"]["httpGet"].update(path="/readyz"),
            "would be killed",
        ),
        (lambda r: first(r["Deployment gateway"])["ports"][0].update(containerPort=8080), "nobody listens"),
        (lambda r: first(r["Deployment engine-a"])["args"].append("--enable-everything"), "--enable-everything"),
        (lambda r: first(r["Deployment engine-a"])["command"].__setitem__(2, "vllm"), "not how an engine is started"),
        (lambda r: first(r["Deployment worker"])["securityContext"].pop("readOnlyRootFilesystem"), "not shut off"),
        (
            lambda r: first(r["Deployment worker"])["env"].append({"name": "DRIFTWHEEL__X__Y", "value": "1"}),
            "x: no such",
        ),
        (
            lambda r: r["Deployment worker"]["spec"]["template"]["spec"]["securityContext"].pop("runAsNonRoot"),
            "as root",
        ),
        (lambda r: r["Service gateway"]["spec"].update(selector={"driftwheel/gateway": "no"}), "chooses no pod"),
        (lambda r: r["Service gateway"]["spec"]["ports"][0].update(targetPort="web"), "no port named web"),
        (lambda r: r["PodDisruptionBudget gateway"]["spec"].update(minAvailable=3), "no node could be emptied"),
        (
            lambda r: r["ServiceMonitor driftwheel-gateway"]["spec"]["endpoints"][0].update(port="web"),
            "scrapes nothing",
        ),
        (lambda r: r["ServiceMonitor driftwheel-gateway"]["spec"].update(endpoint=[]), "endpoint"),
        (lambda r: r["Namespace driftwheel"]["metadata"].pop("labels"), "labels"),
        (
            lambda r: r["Service engine-b"]["spec"]["ports"][0].update(port=8001),
            "there is no engine at http://engine-b",
        ),
    ],
)
def test_what_there_is_not_is_found(change: Change, found: str, tmp_path: Path) -> None:
    resources = copy.deepcopy(rendered("cluster"))
    change({f"{r['kind']} {r['metadata']['name']}": r for r in resources})
    try:
        problems = problems_of(resources, tmp_path)
    except KeyError as error:
        problems = [str(error)]
    assert found in "\n".join(problems)


def test_the_operators_rules_are_those_of_prometheus() -> None:
    shipped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules" / "driftwheel.yml").read_text(encoding="utf-8"))
    resources = rendered("cluster")
    assert of_kind(resources, "PrometheusRule")["driftwheel"]["spec"] == shipped
    jobs = {
        relabeling["replacement"]
        for monitor in of_kind(resources, "ServiceMonitor").values()
        for relabeling in monitor["spec"]["endpoints"][0]["relabelings"]
    }
    assert jobs == {*re.findall(r'job="([^"]+)"', str(shipped))}
