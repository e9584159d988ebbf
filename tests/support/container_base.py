"""A base image from this machine's own Python and a few programs, in seconds: a debootstrap takes minutes.

No hub is asked. Python stands under /usr/local, as in the hub's `python:3.11-slim`.
"""

import io
import os
import re
import shutil
import ssl
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

PROGRAMS = ("sh", "mkdir", "chmod", "chown", "rm", "ls", "cat", "env", "sleep")
"""What Containerfiles and the tests run beside Python."""
LEFT_OUT = re.compile(r"/(site-packages|test|tests|idlelib|tkinter|turtledemo|lib2to3|config-[^/]*|__pycache__)(/|$)")
"""Of the standard library: what no image needs."""
PASSWD = "root:x:0:0:root:/root:/bin/sh\n"
LIBRARIES = Path("lib/x86_64-linux-gnu")
"""Where Debian's loader looks without a cache."""
OF_WHEELS = (
    *("libgcc_s.so.1", "libstdc++.so.6", "libc.so.6", "libm.so.6"),
    *("libdl.so.2", "librt.so.1", "libpthread.so.0", "libutil.so.1"),
)
"""What wheels expect of every Linux (PEP 599)."""
CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")
TRUST = ("SSL_CERT_FILE", "PIP_CERT")
"""Variables by which uv and pip find them: a machine behind a proxy has a list of its own."""


def write_base(path: Path) -> None:
    """Write the base as a tar archive."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    python = Path(os.path.realpath(sys.executable))
    programs = [
        Path(os.path.realpath(found)) for name in PROGRAMS if (found := shutil.which(name, path="/usr/bin:/bin"))
    ]
    with tarfile.open(path, "w") as archive:
        for folder in ("proc", "sys", "dev", "tmp", "run", "root", "usr/bin", "var/lib"):
            _folder(archive, folder, 0o1777 if folder == "tmp" else 0o755)
        archive.add(stdlib, f"usr/local/lib/{stdlib.name}", filter=_without_what_no_image_needs)
        archive.add(python, "usr/local/bin/python3")
        for name, program in zip(PROGRAMS, programs, strict=True):
            archive.add(program, f"bin/{name}")
        for library in _libraries([python, *programs, *(stdlib / "lib-dynload").glob("*.so")]):
            at = Path("lib64") if library.name.startswith("ld-linux") else LIBRARIES
            archive.add(os.path.realpath(library), str(at / library.name))
        _text(archive, "etc/passwd", PASSWD)
        _text(archive, "etc/group", "root:x:0:\n")
        archive.add(_certificates(), str(CERTIFICATES))


def _libraries(programs: list[Path]) -> list[Path]:
    """Return what the loader would load, each name once."""
    said = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False).stdout
    paths = [*re.findall(r"^\s+(?:\S+ => )?(/\S+) \(0x", said, re.MULTILINE), *(f"/{LIBRARIES}/{n}" for n in OF_WHEELS)]
    found = {Path(path).name: Path(path) for path in paths}
    return [found[name] for name in sorted(found)]


def _without_what_no_image_needs(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if LEFT_OUT.search(f"/{entry.name}") else entry


def _certificates() -> str:
    return os.path.realpath(
        os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile or "/" / CERTIFICATES
    )


def _folder(archive: tarfile.TarFile, name: str, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, mode
    archive.addfile(entry)


def _text(archive: tarfile.TarFile, name: str, text: str) -> None:
    entry, data = tarfile.TarInfo(name), text.encode()
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))
