"""Scores general tasks with lm-eval, to show what a version forgot.

EleutherAI's lm-eval asks the running engine over HTTP (`local-completions`). It cannot share this environment:
pytablewriter's typepy wants python-dateutil below 3. So it is a child process in an environment of its own.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from driftwheel.errors import EngineError
from driftwheel.records.scorecard import GeneralTask, Measurement
from driftwheel.settings.settings import Settings
from train.asking.client import Endpoint
from train.processes.environments import python_with
from train.processes.executor import LocalExecutor

LM_EVAL = ("lm-eval[api]==0.4.13", "transformers>=5.19,<5.20")
"""Transformers without torch, for its tokenizers."""
OWN_HOSTS = ("127.0.0.1", "localhost", "::1")
NOT_METRICS = ("alias", "name", "sample_len", "sample_count")


def measure_general(settings: Settings, endpoint: Endpoint, artifact: Path) -> dict[str, GeneralTask] | None:
    """Return each of `evaluate.general_tasks`' metrics with their standard errors, or None where none is named.

    Raises EngineError with lm-eval's last words if it fails, ConfigError if its environment cannot be made.
    """
    if not settings.evaluate.general_tasks:
        return None
    key, configured = "evaluate.lm_eval_python", settings.evaluate.lm_eval_python
    python = python_with(settings.root, "lm-eval", LM_EVAL, key=key, configured=configured, beside=settings.path.parent)
    model = {
        "model": endpoint.model,
        "base_url": f"{endpoint.url}/v1/completions",
        "tokenizer": str(artifact.resolve()),
        "tokenizer_backend": "huggingface",
        "num_concurrent": settings.evaluate.concurrency,
        "max_length": settings.serve.max_model_len,
        "timeout": int(settings.serve.request_timeout_seconds),
    }
    arguments = ",".join(f"{key}={value}" for key, value in model.items())
    log_path = settings.root / "logs" / "lm-eval.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=log_path.parent) as folder:
        argv = [python, "-m", "lm_eval", "run", "--model", "local-completions", "--model_args", arguments]
        argv += ["--tasks", ",".join(settings.evaluate.general_tasks), "--output_path", folder]
        argv += ["--seed", str(settings.dataset.seed), "--limit", str(settings.evaluate.general_items)]
        if settings.evaluate.general_path:
            argv += ["--include_path", str(settings.resolve(settings.evaluate.general_path))]
        LocalExecutor().run(argv, log_path=log_path, environment=environment_of(endpoint))
        found = list(Path(folder).rglob("results_*.json"))
        if not found:
            raise EngineError(f"lm-eval wrote no results; see {log_path}")
        return read_results(json.loads(found[0].read_text(encoding="utf-8")))


def environment_of(endpoint: Endpoint) -> dict[str, str]:
    """Return what lm-eval must know: the endpoint's key, and that the machine's proxy is not for this machine."""
    spared = ",".join([*filter(None, [os.environ.get("no_proxy", os.environ.get("NO_PROXY"))]), *OWN_HOSTS])
    return {"OPENAI_API_KEY": endpoint.api_key, "no_proxy": spared, "NO_PROXY": spared}


def read_results(results: Mapping[str, Any]) -> dict[str, GeneralTask]:
    """Return lm-eval's results by task; a metric that is no number is left out."""
    tasks: dict[str, GeneralTask] = {}
    for task, numbers in results["results"].items():
        values = {key.partition(",")[0]: value for key, value in numbers.items() if key not in NOT_METRICS}
        errors = {name: values.pop(name) for name in [*values] if name.endswith("_stderr")}
        known = {name: error for name, error in errors.items() if isinstance(error, float)}
        metrics: dict[str, Measurement] = {
            name: (float(value), known.get(f"{name}_stderr"))
            for name, value in values.items()
            if isinstance(value, int | float)
        }
        tasks[task] = {"items": results["n-samples"].get(task, {}).get("effective"), **metrics}
    return tasks


def forgotten(
    candidate: Mapping[str, GeneralTask], live: Mapping[str, GeneralTask]
) -> dict[str, dict[str, Measurement]]:
    """Return candidate minus live for each task and metric that both have, each with its standard error.

    The errors are added as of independent samples, which is too wide, because both were asked the same.
    """
    found: dict[str, dict[str, Measurement]] = {}
    for task in candidate.keys() & live.keys():
        before = metrics_of(live[task])
        for metric, (new, new_error) in metrics_of(candidate[task]).items():
            if metric in before:
                old, old_error = before[metric]
                error = None if new_error is None or old_error is None else (new_error**2 + old_error**2) ** 0.5
                found.setdefault(task, {})[metric] = (new - old, error)
    return found


def metrics_of(task: GeneralTask) -> dict[str, Measurement]:
    """Return a task's metrics without its number of items."""
    return {name: value for name, value in task.items() if isinstance(value, tuple)}
