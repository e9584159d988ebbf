"""Podman without a daemon and with a store of the tests' own: builds an image and runs it as a container host would."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.support.absent import absent
from tests.support.container_base import TRUST, write_base

HYBRID = Path("/sys/fs/cgroup/unified")
"""crun refuses a machine that has both kinds of control groups; the tests' own view of it then leaves the newer out."""
HARDENED = ("--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges")
"""As deploy/compose.yaml and deploy/kubernetes run every part."""
HERE = ("--network", "host", "--cgroups", "disabled", "--ulimit", "nofile=12000:12000", "--ulimit", "nproc=4096:4096")
"""What a sandbox of CI allows: no bridge, no control groups, and no more open files than it has itself."""


class Podman:
    """Images and containers in a folder."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("podman") is None or os.geteuid() != 0:
            absent("podman, as root", install="Debian's packages podman and crun")
        self._folder = folder
        # The storage driver is podman's own choice: overlay, or vfs where the folder takes none.
        stores = ["--root", str(folder / "store"), "--runroot", str(folder / "run")]
        self._argv = ["podman", *stores, "--cgroup-manager", "cgroupfs", "--events-backend", "none"]
        if HYBRID.exists():
            script = f'umount -l {HYBRID} && exec "$@"'
            self._argv = ["unshare", "--mount", "sh", "-c", script, "sh", *self._argv]

    def argv(self, *words: str) -> list[str]:
        """Return the command line that runs podman with some words."""
        return [*self._argv, *words]

    def run(self, *words: str, check: bool = True) -> str:
        """Run podman and return what it printed, errors behind the rest; raises AssertionError where it fails."""
        done = subprocess.run(self.argv(*words), capture_output=True, text=True, timeout=300, check=False)
        said = done.stdout + done.stderr
        assert not check or done.returncode == 0, f"podman {' '.join(words)}: {said[-4000:]}"
        return said

    def make_base(self, name: str) -> None:
        """Make the base image of the tests."""
        archive = self._folder / "base.tar"
        write_base(archive)
        changes = [word for variable in TRUST for word in ("-c", f"ENV {variable}=/etc/ssl/certs/ca-certificates.crt")]
        self.run("import", "--quiet", *changes, str(archive), name)
        archive.unlink()

    def build(self, name: str, containerfile: Path, context: Path, base: str) -> None:
        """Build an image on a base; wheels that uv keeps on this machine are taken from there."""
        options = ["--isolation", "chroot", "--layers=false", "--format", "docker", "--build-arg", f"BASE={base}"]
        cache = Path(os.environ.get("UV_CACHE_DIR", Path.home() / ".cache" / "uv"))
        cache.mkdir(parents=True, exist_ok=True)
        # Nobody starts these containers twice: they compile what they import.
        options += ["--volume", f"{cache}:/root/.cache/uv", "--build-arg", "UV_COMPILE_BYTECODE=0"]
        self.run("build", *options, "--file", str(containerfile), "--tag", name, str(context))

    def remove(self) -> None:
        """Remove images and containers, which have been stopped, with their files: podman itself takes long for it."""
        shutil.rmtree(self._folder, ignore_errors=True)
