#!/bin/sh
# A virtual environment in .venv with everything that a machine without a GPU needs, pinned and hashed.
# torch comes first and alone: the version that names the CPU build (+cpu) never falls through to the CUDA
# build. pip finds it where pip's own configuration points; otherwise uv knows PyTorch's CPU index by name.
set -eu
PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}
TORCH="torch==2.13.0+cpu"

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "error: $PYTHON is older than 3.11; set PYTHON to a newer one" >&2
    exit 1
}
"$PYTHON" -m venv --clear "$VENV"
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check uv==0.13.8
echo "installing $TORCH"
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$TORCH" 2>/dev/null ||
    "$VENV/bin/uv" pip install --quiet --python "$VENV/bin/python" --no-deps --torch-backend cpu "$TORCH"
# Compiled once here: where PYTHONDONTWRITEBYTECODE is set, as in most images, each engine would compile for 9 s anew.
echo "installing requirements/cpu.txt"
"$VENV/bin/uv" pip install --quiet --python "$VENV/bin/python" --no-deps --require-hashes --compile-bytecode \
    -r requirements/cpu.txt
"$VENV/bin/uv" pip install --quiet --python "$VENV/bin/python" --no-deps --no-build-isolation -e .
"$VENV/bin/python" -c 'import torch; assert torch.version.cuda is None, "this is a CUDA build of torch"'
touch "$VENV/.complete"
echo "ready: . $VENV/bin/activate"
