"""Where the clients of the gateway are installed, and the environment that their programs run in."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Installed:
    """Where the clients are."""

    python: Path
    node: Path
    node_folder: Path
    """Holds `node_modules`."""


def clean_environment(**more: str) -> dict[str, str]:
    """Return an environment in which a client knows nothing but what it is told."""
    strange = ("proxy", "openai_", "azure_", "litellm_", "langchain_", "langsmith_")
    kept = {name: value for name, value in os.environ.items() if not any(word in name.lower() for word in strange)}
    return {**kept, "LITELLM_LOCAL_MODEL_COST_MAP": "True", **more}
