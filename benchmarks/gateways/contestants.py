"""Starts each compared gateway in front of the upstream, set up as its documentation says for one engine.

Peers live in an environment of their own below the benchmark's home, installed once, their versions pinned here.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from driftwheel.errors import ConfigError
from tests.support import served

KEY = "sk-driftwheel-bench-5f0c7a1e94b24d5c8e"
LITELLM, PORTKEY, VLLM_ROUTER = "1.106.2", "1.15.2", "0.1.17"
START_SECONDS = 90.0


@dataclass
class Contestant:
    """A gateway that runs, and how to ask it."""

    name: str
    port: int
    model: str
    headers: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    def cpu_seconds(self) -> float:
        """Return the processor time of the process and its children since their start."""
        if self.process is None:
            return 0.0
        parent = psutil.Process(self.process.pid)
        times = [process.cpu_times() for process in (parent, *parent.children(recursive=True))]
        return float(sum(t.user + t.system for t in times))

    def memory_mib(self) -> float:
        """Return the resident memory of the process and its children."""
        if self.process is None:
            return 0.0
        parent = psutil.Process(self.process.pid)
        return sum(float(p.memory_info().rss) for p in (parent, *parent.children(recursive=True))) / 2**20

    def stop(self) -> None:
        """Stop the process and its children."""
        if self.process is not None and self.process.poll() is None:
            family = psutil.Process(self.process.pid).children(recursive=True)
            self.process.terminate()
            self.process.wait(timeout=20)
            for child in family:
                if child.is_running():
                    child.kill()


def direct(home: Path, port: int, upstream: int) -> Contestant:
    """Return the upstream itself."""
    return Contestant("direct", upstream, served.VERSION)


def driftwheel(home: Path, port: int, upstream: int) -> Contestant:
    """Start driftwheel's gateway with its log, keys and metrics, on a new ledger."""
    folder = home / "driftwheel"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "driftwheel.yaml").write_text(served.SETTINGS, encoding="utf-8")
    process = _start(home, "driftwheel", [sys.executable, "-m", "tests.support.served", str(folder), str(upstream)], {})
    headers = (f"authorization: Bearer {served.KEY}",)
    return Contestant("driftwheel", _printed_port(home / "driftwheel.log"), "bench", headers, process)


def nginx(home: Path, port: int, upstream: int) -> Contestant:
    """Start nginx with one worker, kept-alive connections and nothing else switched on."""
    if shutil.which("nginx") is None:
        raise ConfigError("nginx is not installed; install it (apt-get install nginx-light)")
    folder = home / "nginx"
    folder.mkdir(parents=True, exist_ok=True)
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(f"""
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 2048; }}
http {{ access_log off; keepalive_requests 100000000; {temporary}
  upstream engine {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port};
    location / {{ proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection "";
                 proxy_buffering off; }} }} }}
""")
    process = _start(home, "nginx", ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)], {})
    return Contestant("nginx", port, served.VERSION, process=process)


def vllm_router(home: Path, port: int, upstream: int) -> Contestant:
    """Start vLLM's router, in Rust, with one worker."""
    python = _environment(home / "env-vllm-router", f"vllm-router=={VLLM_ROUTER}")
    argv = [str(python.with_name("vllm-router")), "--worker-urls", f"http://127.0.0.1:{upstream}"]
    argv += ["--host", "127.0.0.1", "--port", str(port), "--policy", "round_robin", "--log-level", "error"]
    process = _start(home, "vllm-router", argv, {})
    return Contestant("vllm-router", port, served.VERSION, process=process)


def litellm(home: Path, port: int, upstream: int) -> Contestant:
    """Start LiteLLM's proxy with a key and no database."""
    python = _environment(home / "env-litellm", f"litellm[proxy]=={LITELLM}")
    config = home / "litellm.yaml"
    config.write_text(f"""
model_list:
  - model_name: bench
    litellm_params: {{model: hosted_vllm/version_bench, api_base: "http://127.0.0.1:{upstream}/v1", api_key: none}}
general_settings: {{master_key: {KEY}}}
""")
    argv = [str(python.with_name("litellm")), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    process = _start(home, "litellm", argv, {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"})
    return Contestant("litellm", port, "bench", (f"authorization: Bearer {KEY}",), process)


def portkey(home: Path, port: int, upstream: int) -> Contestant:
    """Start Portkey's gateway, on Node."""
    folder = home / "env-portkey"
    entry = folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    if not entry.exists():
        _run(["npm", "install", "--silent", "--prefix", str(folder), f"@portkey-ai/gateway@{PORTKEY}"])
    argv = ["node", str(entry), f"--port={port}", "--headless"]
    headers = ("x-portkey-provider: openai", f"x-portkey-custom-host: http://127.0.0.1:{upstream}/v1")
    process = _start(home, "portkey", argv, {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1"})
    return Contestant("portkey", port, served.VERSION, (f"authorization: Bearer {KEY}", *headers), process)


CONTESTANTS: dict[str, Callable[[Path, int, int], Contestant]] = {
    "direct": direct,
    "nginx": nginx,
    "driftwheel": driftwheel,
    "vllm-router": vllm_router,
    "portkey": portkey,
    "litellm": litellm,
}


def _environment(folder: Path, requirement: str) -> Path:
    python = folder / "bin" / "python"
    if not (folder / ".complete").exists():
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run([str(python), "-m", "pip", "install", "--quiet", requirement])
        (folder / ".complete").touch()
    return python


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ConfigError(f"{' '.join(argv)} failed: {done.stderr.strip()[-500:]}")


def _start(home: Path, name: str, argv: list[str], environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    log = home / f"{name}.log"
    with log.open("wb") as file:
        return subprocess.Popen(argv, stdout=file, stderr=file, env={**os.environ, **environment})


def _printed_port(log: Path) -> int:
    deadline = time.monotonic() + START_SECONDS
    while not (line := log.read_text(encoding="utf-8").partition("\n")[0]).isdigit():
        if time.monotonic() > deadline:
            raise ConfigError(f"no port is printed in {log}; it says why")
        time.sleep(0.1)
    return int(line)


def wait_until_answering(contestant: Contestant, ask: Callable[[], bool]) -> None:
    """Wait for the first right answer; raises ConfigError after START_SECONDS."""
    deadline = time.monotonic() + START_SECONDS
    while not ask():
        if time.monotonic() > deadline or (contestant.process and contestant.process.poll() is not None):
            raise ConfigError(f"{contestant.name} gives no answer on port {contestant.port}; its log says why")
        time.sleep(0.3)
