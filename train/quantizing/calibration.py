"""A merged model and training prompts become a calibrated checkpoint: llm-compressor's job file, and its environment.

llm-compressor cannot share vLLM's environment (they pin different compressed-tensors), so it runs in one of its own.
"""

import shutil
import sys
from pathlib import Path

from driftwheel import artifacts
from driftwheel.config import Settings
from driftwheel.errors import ConfigError
from driftwheel.ledger import Ledger
from driftwheel.records import Dataset, TrainingRun
from train.base_model import load_tokenizer
from train.executor import LocalExecutor
from train.fidelity.smoothing import SMOOTHED

JOB_SCRIPT = Path(__file__).with_name("calibration_job.py")
PACKAGES = ("llmcompressor==0.14.0.1", "compressed-tensors==0.19.0", "transformers==5.17.0")


def calibrate(settings: Settings, ledger: Ledger, run: TrainingRun, scheme: str, merged: Path, folder: Path) -> None:
    """Write the checkpoint of a scheme that looks at what the model computes on training rows.

    Raises ConfigError if there is no environment with llm-compressor, ExecutorError with its message if it fails.
    """
    from train.training.trainer import read_split

    dataset = ledger.get(Dataset, run.dataset_id)
    rows = read_split(Path(dataset.path), "train")[: settings.quantize.calibration_rows]
    tokenizer = load_tokenizer(str(merged))
    job_path = Path(run.path) / f"{scheme}_job.json"
    job = {
        "scheme": scheme,
        "model": str(merged),
        "out": str(folder),
        "texts": [tokenizer.apply_chat_template([*r["prompt"], *r["completion"]], tokenize=False) for r in rows],
        "ignore": settings.quantize.ignore,
        "smoothed": SMOOTHED,
        "max_length": settings.train.max_length,
    }
    artifacts.write_json(job_path, job)
    log_path = settings.root / "logs" / f"{run.id}-{scheme}.log"
    argv = [llmcompressor_python(settings), str(JOB_SCRIPT), str(job_path)]
    LocalExecutor().run(argv, log_path=log_path, environment={"OMP_WAIT_POLICY": "PASSIVE"})


def llmcompressor_python(settings: Settings) -> str:
    """Return a Python with llm-compressor: the configured one, or that of an environment made here once.

    Raises ConfigError if the configured one is missing or `uv` cannot be found.
    """
    if settings.quantize.llmcompressor_python:
        python = settings.path.parent / Path(settings.quantize.llmcompressor_python).expanduser()
        if not python.is_file():
            raise ConfigError(f"quantize.llmcompressor_python {python} does not exist; set it to a Python or to null")
        return str(python.absolute())
    environment = settings.root / "llmcompressor"
    python, mark = environment / "bin" / "python", environment / ".complete"
    if not mark.is_file():
        _make_environment(environment, python, settings.root / "logs" / "llmcompressor-install.log")
        mark.touch()
    return str(python)


def _make_environment(environment: Path, python: Path, log_path: Path) -> None:
    """Install llm-compressor with the very build of torch that trains here, so that a CPU build stays one."""
    import torch

    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.is_file() else shutil.which("uv")
    if uv is None:
        raise ConfigError("this quantize.scheme needs `uv` to make llm-compressor's environment; run: pip install uv")
    run = LocalExecutor().run
    run([uv, "venv", "--clear", "--seed", "--python", sys.executable, str(environment)], log_path=log_path)
    # pip reads the machine's own index settings, which uv does not.
    run([str(python), "-m", "pip", "install", f"torch=={torch.__version__}", *PACKAGES], log_path=log_path)
