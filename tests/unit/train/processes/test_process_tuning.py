"""The tuned process, seen from outside: what it tells OpenMP, and how often it faults memory in."""

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import json, os, resource, sys
from train.processes.process_tuning import tune_process
if "tuned" in sys.argv:
    tune_process()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    blocks = [bytearray(6 << 20) for _ in range(12)]
    del blocks
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(json.dumps([faults, os.environ.get("OMP_WAIT_POLICY"), "torch" in sys.modules]))
"""


def run(*arguments: str, **environment: str) -> tuple[int, str | None, bool]:
    own = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GLIBC_TUNABLES", "LD_PRELOAD")}
    command = [sys.executable, "-c", SCRIPT, *arguments]
    output = subprocess.run(command, env={**own, **environment}, capture_output=True, text=True, check=True)
    faults, policy, has_torch = json.loads(output.stdout)
    return faults, policy, has_torch


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_memory_that_was_freed_is_not_faulted_in_again() -> None:
    plain_faults, _, _ = run()
    tuned_faults, policy, has_torch = run("tuned")
    assert tuned_faults < plain_faults / 4
    assert policy == "PASSIVE"
    assert not has_torch


def test_what_the_environment_says_wins() -> None:
    assert run("tuned", OMP_WAIT_POLICY="ACTIVE")[1] == "ACTIVE"
