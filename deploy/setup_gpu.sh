#!/bin/sh
# A virtual environment in .venv-gpu with everything that a machine with an NVIDIA GPU needs, pinned and hashed: CUDA's
# builds of torch and vLLM, and bitsandbytes. DRY_RUN=1 resolves and installs nothing, which needs no GPU.
# It stands beside .venv, whose torch and vLLM are the CPU's: the two builds have the same modules.
set -eu
PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv-gpu}
DRY_RUN=${DRY_RUN:-}
NEEDED_CUDA=13 # torch 2.13's wheels bring CUDA 13, which runs on drivers from 580 on

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "error: $PYTHON is older than 3.11; set PYTHON to a newer one" >&2
    exit 1
}
if [ -z "$DRY_RUN" ]; then
    said=$(nvidia-smi --version 2>&1) || {
        echo "error: nvidia-smi does not answer (${said:-not found}); install NVIDIA's driver, or use make setup" >&2
        exit 1
    }
    cuda=$(printf '%s\n' "$said" | sed -n 's/^CUDA \(UMD \)\{0,1\}Version *: *\([0-9]*\).*/\2/p')
    [ "${cuda:-0}" -ge "$NEEDED_CUDA" ] || {
        echo "error: this driver runs CUDA ${cuda:-unknown}, and CUDA $NEEDED_CUDA is needed: install a newer driver" >&2
        exit 1
    }
fi
"$PYTHON" -m venv --clear "$VENV"
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check uv==0.13.8
install() { "$VENV/bin/uv" pip install --quiet --python "$VENV/bin/python" --no-deps ${DRY_RUN:+--dry-run} "$@"; }
echo "installing requirements/gpu.txt"
install --require-hashes --compile-bytecode -r requirements/gpu.txt # else each engine compiles for seconds anew
[ -z "$DRY_RUN" ] || exit 0
install --no-build-isolation -e .
"$VENV/bin/python" -c 'import torch; assert torch.cuda.is_available(), "torch sees no GPU: driftwheel doctor says why"'
touch "$VENV/.complete"
echo "ready: . $VENV/bin/activate"
