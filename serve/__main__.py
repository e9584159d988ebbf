"""The serving stage's verbs.

python -m serve gateway --config driftwheel.yaml
python -m serve engine_host --name NAME --address ADDRESS --config driftwheel.yaml
python -m serve bench --config driftwheel.yaml
python -m serve engine --config driftwheel.yaml --artifact DIR
"""

import sys
from collections.abc import Sequence

from driftwheel.cli.dispatch import run_verb

VERBS = {
    "gateway": ("serve.verbs.gateway", "run the gateway, its engines and the rollout"),
    "shadow": ("serve.verbs.shadow", "ask a candidate what was asked, and send its answers to nobody"),
    "engine_host": ("serve.verbs.engine_host", "fetch, start, prove and report the engines of this machine"),
    "bench": ("serve.verbs.bench", "load an endpoint, and say how long its answers take"),
    "engine": ("serve.verbs.engine", "run one engine on loopback"),
}


def main(argv: Sequence[str] | None = None, command: str | None = None) -> int:
    """Run one verb; `command` is what the user typed to get here."""
    return run_verb("python -m serve", "Serve model versions through vLLM.", VERBS, argv, command=command)


if __name__ == "__main__":
    sys.exit(main())
