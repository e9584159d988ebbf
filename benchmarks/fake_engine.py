"""An artifact's `answers.json` becomes a server that answers as vLLM would, in a process of its own.

python -m benchmarks.fake_engine ARTIFACT NAME PORT

Requests with `prompt_logprobs` are probes and get the artifact's tokens; others are users'. The file at `fault_path`,
whose name may hold {port}, names a fault while it is there: hang, busy, nan, null, error or empty. Adapters are loaded
and unloaded, and weights reloaded, as vLLM does it; stricter than vLLM, an answer is the one of the weights at its end,
and fails if its adapter is unloaded by then.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
LOGPROBS: dict[str, float | None] = {"nan": float("nan"), "null": None}


class State:
    def __init__(self, facts: dict[str, Any], name: str, port: int) -> None:
        self.facts = facts
        self.models = {name: facts}
        self.fault_path = Path(facts["fault_path"].format(port=port)) if "fault_path" in facts else None
        self.tokens = self.users = 0
        self.lock = threading.Lock()

    def fault(self) -> str:
        try:
            return self.fault_path.read_text().strip() if self.fault_path else ""
        except FileNotFoundError:
            return ""

    def change_adapters(self, path: str, body: dict[str, Any]) -> tuple[int, str]:
        name = body["lora_name"]
        if path.endswith("unload_lora_adapter"):
            found = self.models.pop(name, None)
            return (200, "removed") if found else (404, '{"error": {"message": "cannot be found"}}')
        facts = json.loads((Path(body["lora_path"]) / "answers.json").read_text())
        if name in self.models or facts.get("refuses"):
            return 400, json.dumps({"error": {"message": facts.get("refuses", f"{name} has already been loaded")}})
        self.models[name] = self.facts if facts.get("fits_nothing") else facts
        return 200, "added"

    def change_weights(self, path: str, body: dict[str, Any]) -> tuple[int, str]:
        """Take the calls of a reload; an artifact may refuse, or be reloaded wrongly without a word."""
        if not path.startswith("/collective_rpc"):
            return 200, '{"success": true}'
        facts = json.loads((Path(body["kwargs"]["weights_path"]) / "answers.json").read_text())
        if facts.get("reload") == "refused":
            return 500, '{"error": {"message": "other shapes"}}'
        name = next(iter(self.models))
        self.models[name] = self.models[name] if facts.get("reload") == "ignored" else facts
        return 200, '{"results": [null]}'

    def fails_user(self) -> bool:
        """Fail the given share of users' requests, evenly spread."""
        with self.lock:
            self.users += 1
            share = self.facts.get("fails_share", 0.0)
            return int(self.users * share) > int((self.users - 1) * share)


def handler(state: State) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/v1/models":
                self.send(200, json.dumps({"data": [{"id": name} for name in state.models]}))
                return
            if state.fault() == "busy":
                state.tokens += 7
            self.send(200, f'vllm:generation_tokens_total{{engine="0"}} {state.tokens}\n')

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            fault = state.fault()
            while fault in ("hang", "busy"):
                time.sleep(0.05)
                fault = state.fault()
            if self.path.endswith("load_lora_adapter"):
                self.send(*state.change_adapters(self.path, body))
                return
            if "model" not in body:
                self.send(*state.change_weights(self.path, body))
                return
            facts = state.models.get(body["model"])
            if facts is None:
                self.send(404, '{"error": {"message": "no such model"}}')
                return
            is_probe = "prompt_logprobs" in body
            is_user = "messages" in body and not is_probe
            if fault == "error" or (is_user and state.fails_user()):
                self.send(500, '{"error": {"message": "planted"}}')
                return
            time.sleep(facts.get("seconds", 0) if is_user else 0)
            facts = state.models.get(body["model"])
            if facts is None:
                self.send(500, '{"error": {"message": "the adapter was unloaded"}}')
                return
            logprob = LOGPROBS.get(fault, facts["logprob"])
            if is_probe:
                content = [{"token": t, "logprob": logprob} for t in facts["tokens"]]
                choice: dict[str, Any] = {"finish_reason": "length", "logprobs": {"content": content}}
            elif is_user:
                answer = facts.get("answer", "".join(facts["tokens"]))
                choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": answer}}
            else:
                choice = {"finish_reason": "length", "logprobs": {"token_logprobs": [logprob]}}
            self.send(200, json.dumps({"choices": [] if fault == "empty" else [choice]}))

        def send(self, status: int, text: str) -> None:
            data = text.encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *values: Any) -> None: ...

    return Handler


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


def main() -> None:
    artifact, name, port = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    facts = json.loads((artifact / "answers.json").read_text())
    if facts.get("dies_until_exists") and not Path(facts["dies_until_exists"]).exists():
        Path(facts["dies_until_exists"]).touch()
        sys.exit("RuntimeError: the first try fails")
    if facts.get("dies"):
        sys.stdout.write("INFO loading\nRuntimeError: no such architecture\nINFO bye\n")
        sys.exit(3)
    if facts.get("child_id_path"):
        child = subprocess.Popen([sys.executable, "-c", STUBBORN])
        Path(facts["child_id_path"]).write_text(str(child.pid))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    time.sleep(facts.get("start_seconds", 0))
    Server(("127.0.0.1", port), handler(State(facts, name, port))).serve_forever()


if __name__ == "__main__":
    main()
