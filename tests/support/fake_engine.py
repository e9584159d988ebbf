"""A fake vLLM server, in a process of its own or in a test's event loop.

python -m tests.support.fake_engine ARTIFACT NAME PORT [ADDRESS]

The facts are the artifact's `answers.json`. Nothing listens before the file at `starts_when_exists` is there. Requests
with `prompt_logprobs` are probes and get its tokens, bare prompts are health checks, and the rest are users', who get
`answer`, or where there is none what `answer_to` makes of their message and of `name`. The file at `fault_path`, whose
name may hold {port}, names a fault while it is there: hang, busy, nan, null, error or empty. Adapters are loaded and
unloaded, and weights reloaded, as vLLM does it; stricter than vLLM, an answer is the one of the weights at its end, and
fails if its adapter is unloaded by then. Needs nothing but Python, so that it starts at once.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
LOGPROBS: dict[str, float | None] = {"nan": float("nan"), "null": None}
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
USAGE = {"prompt_tokens": 9, "completion_tokens": 8, "total_tokens": 17}
POLL_SECONDS = 0.05
PIECE_CHARACTERS = 16


def answer_to(prompt: str, name: str) -> str:
    """Return the answer of a model, which no other prompt gets, and no other model gives."""
    return f'{{"answer": "{hashlib.sha256(f"{name} {prompt}".encode()).hexdigest()} é"}}'


class FakeEngine:
    """What one engine knows and has counted."""

    def __init__(self, name: str, facts: dict[str, Any], port: int = 0) -> None:
        self._facts, self._models = facts, {name: facts}
        self._fault_path = Path(facts["fault_path"].format(port=port)) if "fault_path" in facts else None
        self._tokens = self._users = 0
        self.last_head = b""
        """Request line and headers of the newest request."""

    async def listen(self, port: int, host: str = "127.0.0.1") -> asyncio.Server:
        """Answer on a port; port 0 takes a free one."""
        return await asyncio.start_server(self._answer, host, port, backlog=1024)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = self.last_head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                body = await reader.readexactly(int(length or 0))
                path = head.split()[1].decode()
                is_question = head.startswith(b"POST")
                writer.write(await self._reply(path, json.loads(body or b"{}")) if is_question else self._page(path))
                await writer.drain()
        writer.close()

    def _page(self, path: str) -> bytes:
        if path == "/v1/models":
            return whole(200, {"data": [{"id": name} for name in self._models]})
        if self._fault() == "busy":
            self._tokens += 7
        return framed(200, b'vllm:generation_tokens_total{engine="0"} %d\n' % self._tokens)

    async def _reply(self, path: str, body: dict[str, Any]) -> bytes:
        while (fault := self._fault()) in ("hang", "busy"):
            await asyncio.sleep(POLL_SECONDS)
        if path.endswith("load_lora_adapter"):
            return self._change_adapters(path, body)
        if "model" not in body:
            return self._change_weights(path, body)
        if body["model"] not in self._models:
            return whole(404, {"error": {"message": "no such model"}})
        is_probe = "prompt_logprobs" in body
        is_user = "messages" in body and not is_probe
        if fault == "error" or (is_user and self._fails_user()):
            return whole(500, {"error": {"message": "planted"}})
        if is_user:
            await asyncio.sleep(self._models[body["model"]].get("seconds", 0))
        facts = self._models.get(body["model"])
        if facts is None:
            return whole(500, {"error": {"message": "the adapter was unloaded"}})
        if is_user:
            return self._to_user(facts, body, is_empty=fault == "empty")
        logprob = LOGPROBS.get(fault, facts.get("logprob", -0.5))
        if is_probe:
            content = [{"token": t, "logprob": logprob} for t in facts["tokens"]]
            choice: dict[str, Any] = {"finish_reason": "length", "logprobs": {"content": content}}
        else:
            choice = {"finish_reason": "length", "logprobs": {"token_logprobs": [logprob]}}
        return whole(200, {"choices": [] if fault == "empty" else [choice]})

    def _to_user(self, facts: dict[str, Any], body: dict[str, Any], *, is_empty: bool) -> bytes:
        text = facts.get("answer") or answer_to(body["messages"][-1]["content"], facts.get("name", body["model"]))
        about = {"id": f"chatcmpl-{self._users}", "model": body["model"]}
        if body.get("stream"):
            return streamed(about, text, has_usage=bool((body.get("stream_options") or {}).get("include_usage")))
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        return whole(200, {**about, "choices": [] if is_empty else [choice], "usage": USAGE})

    def _change_adapters(self, path: str, body: dict[str, Any]) -> bytes:
        name = body["lora_name"]
        if path.endswith("unload_lora_adapter"):
            found = self._models.pop(name, None)
            return framed(200, b"removed") if found else whole(404, {"error": {"message": "cannot be found"}})
        facts = json.loads((Path(body["lora_path"]) / "answers.json").read_text())
        if name in self._models or facts.get("refuses"):
            return whole(400, {"error": {"message": facts.get("refuses", f"{name} has already been loaded")}})
        self._models[name] = self._facts if facts.get("fits_nothing") else facts
        return framed(200, b"added")

    def _change_weights(self, path: str, body: dict[str, Any]) -> bytes:
        """Take the calls of a reload; an artifact may refuse, or be reloaded wrongly without a word."""
        if not path.startswith("/collective_rpc"):
            return whole(200, {"success": True})
        facts = json.loads((Path(body["kwargs"]["weights_path"]) / "answers.json").read_text())
        if facts.get("reload") == "refused":
            return whole(500, {"error": {"message": "other shapes"}})
        name = next(iter(self._models))
        self._models[name] = self._models[name] if facts.get("reload") == "ignored" else facts
        return whole(200, {"results": [None]})

    def _fault(self) -> str:
        try:
            return self._fault_path.read_text().strip() if self._fault_path else ""
        except FileNotFoundError:
            return ""

    def _fails_user(self) -> bool:
        """Fail the given share of users' requests, evenly spread."""
        self._users += 1
        share = self._facts.get("fails_share", 0.0)
        return int(self._users * share) > int((self._users - 1) * share)


def framed(status: int, body: bytes) -> bytes:
    """Return a whole answer with its head."""
    head = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % (status, len(body)) + body


def whole(status: int, value: dict[str, Any]) -> bytes:
    """Return a JSON answer."""
    return framed(status, json.dumps(value).encode())


def streamed(facts: dict[str, Any], text: str, *, has_usage: bool) -> bytes:
    """Return a streamed answer, an event for each piece of the text."""
    pieces = [text[at : at + PIECE_CHARACTERS] for at in range(0, len(text), PIECE_CHARACTERS)]
    events = [{**facts, "choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces]
    events.append({**facts, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if has_usage:
        events.append({**facts, "choices": [], "usage": USAGE})
    parts = [f"data: {event}\n\n".encode() for event in (*map(json.dumps, events), "[DONE]")]
    return STREAM_HEAD + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


async def serve(artifact: Path, name: str, port: int, host: str = "127.0.0.1") -> None:
    """Answer as the artifact's facts say; some say that the engine must not start."""
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
    while facts.get("starts_when_exists") and not Path(facts["starts_when_exists"]).exists():
        await asyncio.sleep(POLL_SECONDS)
    await asyncio.sleep(facts.get("start_seconds", 0))
    server = await FakeEngine(name, facts, port).listen(port, host)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), *sys.argv[4:]))
