"""Quantizes with calibration data: runs llm-compressor in an environment of its own.

llm-compressor cannot share vLLM's environment (they pin different compressed-tensors), so it runs in one of its own.
"""

from pathlib import Path

from driftwheel.files import artifacts
from driftwheel.quantization import Scheme
from driftwheel.records.nouns import Dataset, TrainingRun
from driftwheel.settings.artifact import QuantizeSettings
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger
from train.base_model import load_tokenizer
from train.data.examples import read_examples
from train.data.tokens.rendering import as_text
from train.fidelity.smoothing import SMOOTHED
from train.processes.environments import python_with
from train.processes.executor import LocalExecutor

JOB_SCRIPT = Path(__file__).with_name("calibration_job.py")
PACKAGES = ("llmcompressor==0.14.0.1", "compressed-tensors==0.19.0", "transformers==5.17.0")


def calibrate(settings: Settings, ledger: Ledger, run: TrainingRun, scheme: Scheme, merged: Path, folder: Path) -> None:
    """Write the checkpoint of a scheme that looks at what the model computes on training rows.

    Raises ConfigError if there is no environment with llm-compressor, ExecutorError with its message if it fails.
    """
    dataset = ledger.get(Dataset, run.dataset_id)
    rows = read_examples(Path(dataset.path) / "train.jsonl")[: settings.quantize.calibration_rows]
    tokenizer = load_tokenizer(str(merged))
    job_path = Path(run.path) / f"{scheme.name}_job.json"
    job = {
        "recipe": scheme.recipe,
        "is_compressed": not scheme.prunes,
        "model": str(merged),
        "out": str(folder),
        "texts": [as_text(tokenizer, [*r.prompt, *r.completion], r.tools) for r in rows],
        "ignore": settings.quantize.ignore,
        "smoothed": SMOOTHED,
        "max_length": settings.train.max_length,
    }
    artifacts.write_json(job_path, job)
    log_path = settings.root / "logs" / f"{run.id}-{scheme.name}.log"
    argv = [_python(settings.quantize, settings.root, settings.path.parent), str(JOB_SCRIPT), str(job_path)]
    # Threads that wait sleep, because an engine may serve on the same cores meanwhile.
    LocalExecutor().run(argv, log_path=log_path, environment={"OMP_WAIT_POLICY": "PASSIVE"})


def _python(settings: QuantizeSettings, root: Path, beside: Path) -> str:
    import torch

    # The very build of torch that trains here, so that a CPU build stays one.
    packages = [f"torch=={torch.__version__}", *PACKAGES]
    key, configured = "quantize.llmcompressor_python", settings.llmcompressor_python
    return python_with(root, "llmcompressor", packages, beside=beside, key=key, configured=configured)
