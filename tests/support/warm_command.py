"""The `driftwheel` command as forks of a process that has imported what its verbs import, which is most of their time.

    python -m tests.support.warm_command SOCKET

Each command is a process of its own, with the arguments, the folder, the environment and the standard streams of who
called; nothing but the import of libraries is shared. `put_before` makes the file that stands for the command.
"""

import contextlib
import importlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from driftwheel.cli.main import main

PRELOADED = ("torch", "transformers.trainer", "peft", "trl", "train.verbs.data", "train.verbs.finetune")
SIZE_BYTES = 4
CALLER = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as door:
    door.connect({address!r})
    told = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(door, [len(told).to_bytes({size}, "big")], [0, 1, 2])
    door.sendall(told)
    sys.exit((door.recv(1) or b"\\xff")[0])
"""


@contextlib.contextmanager
def put_before(folder: Path, environment: Mapping[str, str]) -> Iterator[Path]:
    """Start the process, and yield a folder for PATH in which `driftwheel` is what asks it."""
    address, folder = str(folder / "door"), folder / "bin"
    folder.mkdir()
    command = folder / "driftwheel"
    command.write_text(CALLER.format(python=sys.executable, address=address, size=SIZE_BYTES), encoding="utf-8")
    command.chmod(0o755)
    argv = [sys.executable, "-m", __name__, address]
    with subprocess.Popen(argv, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield folder
        finally:
            process.terminate()


def serve(address: str) -> None:
    """Run one command after the other, each in a fork, until the end."""
    for name in PRELOADED:
        importlib.import_module(name)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            door, _ = listener.accept()
            with door:
                child_id = os.fork()
                if not child_id:
                    listener.close()
                    _run(door)
                door.sendall(bytes([os.waitstatus_to_exitcode(os.waitpid(child_id, 0)[1]) & 0xFF]))


def _run(door: socket.socket) -> NoReturn:
    """Become the command that a caller asks for."""
    size, streams, _, _ = socket.recv_fds(door, SIZE_BYTES, 3)
    with door.makefile("rb") as told:
        argv, folder, environment = json.loads(told.read(int.from_bytes(size, "big")))
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    door.close()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["driftwheel", *argv]
    sys.exit(main())


if __name__ == "__main__":
    serve(sys.argv[1])
