"""An artifact's `answers.json` becomes a server that answers as vLLM would, in a process of its own.

python fake_engine.py ARTIFACT NAME PORT
"""

import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"


def handler(facts: dict[str, Any], name: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            assert body["model"] == name
            logprobs = {"content": [{"token": t, "logprob": facts["logprob"]} for t in facts["tokens"]]}
            choice = {"finish_reason": "length", "logprobs": logprobs}
            answer = json.dumps({"choices": [choice]}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *values: Any) -> None: ...

    return Handler


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
    ThreadingHTTPServer(("127.0.0.1", port), handler(facts, name)).serve_forever()


main()
