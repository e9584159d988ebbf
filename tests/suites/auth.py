"""Suite: requests that try to get past the keys, counted beside an independent oracle.

    python -m tests.suites.auth [--count 40000] [--seed 4] [--plant NAME]

A real gateway with its ledger stands in front of an upstream that writes down whatever reaches it. `--plant` breaks
the gateway on purpose, to show that the suite notices.
"""

import argparse
import asyncio
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import uvloop
from scipy.stats import beta

from driftwheel.callers.api_keys import create_key, disable_key, keys_of, rotate_key
from driftwheel.identity import utc_now
from driftwheel.records.bookkeeping import Scope
from driftwheel.settings.load import load_settings
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.log import TrafficLog
from serve.access.allow_list import ROUTES
from serve.access.key_ring import ApiKeys
from serve.gateway import Gateway
from serve.http.messages import Request
from serve.metrics import GatewayMetrics
from serve.routing.table import EngineRoute, RoutingTable
from tests.support import upstream
from tests.support.auth_cases import ENGINE_TARGETS, HEADERS, MAY, SCOPES, Case, cases, vllm_routes
from tests.support.served import SETTINGS

WORKERS = 16
ANSWER_SECONDS = 60.0
UNANSWERED = b"no answer came"
BODIES = {
    b"/v1/feedback": b'{"request_id": "req_none", "thumb": 1}',
    b"/v1/hooks/alertmanager": b'{"alerts": []}',
}
ASK = b'{"model": "bench", "messages": [{"role": "user", "content": "hi"}], "prompt": "hi", "input": "hi"}'
TELLTALES = (b"Traceback", b".py", b"/home/", b"/tmp/", b"site-packages")


def _tidy_path(request: Request) -> None:
    path = str(PurePosixPath("/" + unquote(request.path).replace("\\", "/").lower()))
    parts: list[str] = []
    for part in path.split("/"):
        parts = parts[:-1] if part == ".." else [*parts, part] if part not in ("", ".") else parts
    request.path = "/" + "/".join(parts)


def _believe_forwarded_for(request: Request) -> None:
    if request.headers.pop(b"x-forwarded-for", b"") == b"127.0.0.1":
        request.is_local = True


def _take_the_last_key(request: Request) -> None:
    request.repeated = None


def _override_method(request: Request) -> None:
    request.method = request.headers.get(b"x-http-method-override", request.method.encode()).decode()


PLANTS: dict[str, Callable[[Request], None]] = {
    "tidy-path": _tidy_path,
    "believe-forwarded-for": _believe_forwarded_for,
    "take-the-last-key": _take_the_last_key,
    "override-method": _override_method,
}
"""Mistakes that gateways have made: each changes a request before it is judged."""


@dataclass
class Findings:
    """What came of the cases."""

    tried: Counter[str] = field(default_factory=Counter)
    bypasses: list[str] = field(default_factory=list)
    wrongly_refused: list[str] = field(default_factory=list)
    telling: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    strange_targets: set[bytes] = field(default_factory=set)
    engine_hits: int = 0
    engine_answers: int = 0
    seconds: float = 0.0

    @property
    def is_clean(self) -> bool:
        """Say whether nothing got past, nothing was kept out and nothing was told."""
        wrong = [*self.bypasses, *self.wrongly_refused, *self.telling, *self.unanswered, *self.strange_targets]
        return not wrong and self.engine_hits == self.engine_answers


async def examine(count: int, seed: int, folder: Path, plant: Callable[[Request], None] | None = None) -> Findings:
    """Send the cases to a gateway whose ledger lies in a folder."""
    (folder / "driftwheel.yaml").write_text(SETTINGS, encoding="utf-8")
    settings = load_settings(folder / "driftwheel.yaml", environ={})
    ledger, routes, seen, found = Ledger(settings.database_url), RoutingTable(), list[bytes](), Findings()
    texts, keys = _make_keys(ledger, settings.project)
    engine = await upstream.listen(seen)
    routes.add(EngineRoute("v1", "127.0.0.1", engine.sockets[0].getsockname()[1], "v1"))
    routes.point("bench", "v1")
    log, far = TrafficLog(ledger), far_address()
    gateway = Gateway(settings, log, ledger, routes, GatewayMetrics(), keys)
    if plant is not None:
        _break(gateway, plant)
    server = await gateway.start("0.0.0.0" if far else "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    started_at = time.perf_counter()
    todo = cases(count, seed, list(ROUTES), has_far_address=far is not None)
    await _reached(Case(b"POST", b"/v1/completions", "plain", "right", "none", True), texts, "127.0.0.1", port)
    seen.clear()

    async def work() -> None:
        for case in todo:
            await _try(case, texts, "127.0.0.1" if case.is_local else str(far), port, found)

    await asyncio.gather(*(work() for _ in range(WORKERS)))
    found.seconds = time.perf_counter() - started_at
    found.engine_hits, found.strange_targets = len(seen), set(seen) - ENGINE_TARGETS
    await gateway.stop(0)
    engine.close()
    await asyncio.to_thread(log.close)
    ledger.close()
    return found


def _break(gateway: Gateway, plant: Callable[[Request], None]) -> None:
    decide = gateway._admission.decide

    def decide_after_plant(request: Request) -> None:
        plant(request)
        decide(request)

    gateway._admission.decide = decide_after_plant  # type: ignore[method-assign]


def _make_keys(ledger: Ledger, project: str) -> tuple[dict[str, str], ApiKeys]:
    """Make one key in each state."""
    now, hour = utc_now(), timedelta(hours=1)
    texts = {"none": "", "unknown": "dwk_nobody-has-this-key-0123456789"}
    for scope in Scope:
        texts[scope.value] = create_key(ledger, project, scope.value.replace(":", "-"), [scope])[1]
    for state in ("right", "disabled"):
        texts[state] = create_key(ledger, project, state, list(Scope))[1]
    expired, texts["expired"] = create_key(ledger, project, "expired", list(Scope), expires_at=now + hour)
    ledger.change(expired, expires_at=now - hour)
    texts["rotated away"] = create_key(ledger, project, "rotated", list(Scope))[1]
    texts["in its grace"] = create_key(ledger, project, "grace", list(Scope))[1]
    rotate_key(ledger, project, "rotated", -hour)
    rotate_key(ledger, project, "grace", hour)
    disable_key(ledger, project, "disabled")
    return texts, ApiKeys([], keys_of(ledger, project))


def far_address() -> str | None:
    """Return an address of this machine that is not loopback, if there is one; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address: str = probe.getsockname()[0]
        return None if address.startswith(("127.", "0.")) else address


async def _try(case: Case, texts: dict[str, str], host: str, port: int, found: Findings) -> None:
    was_reached, answer = await _reached(case, texts, host, port)
    found.tried["allowed" if case.is_allowed else "refused"] += 1
    name = f"{case.method!r} {case.target('KEY')!r} key {case.key_state}, headers {case.headers}, local {case.is_local}"
    if was_reached and not case.is_allowed:
        found.bypasses.append(name)
    elif case.is_allowed and not was_reached:
        found.wrongly_refused.append(f"{name}: {answer[:200]!r}")
    if answer == UNANSWERED:
        found.unanswered.append(name)
    if any(word in answer for word in TELLTALES):
        found.telling.append(f"{name}: {answer[:200]!r}")
    if was_reached and case.method + b" " + case.spelled in ENGINE_TARGETS:
        found.engine_answers += 1


async def _reached(case: Case, texts: dict[str, str], host: str, port: int) -> tuple[bool, bytes]:
    """Send a case; say whether something other than a refusal came back, and what."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(_bytes(case, texts))
        answer = await asyncio.wait_for(_read(reader, is_head=case.method == b"HEAD"), ANSWER_SECONDS)
    except ConnectionError:
        return False, b""
    except TimeoutError:
        return False, UNANSWERED
    finally:
        writer.close()
    status = answer[9:12]
    is_feedback = b'"code": "not_found"' in answer and b"req_none" in answer
    is_not_ready = b'"status": "not ready"' in answer or (case.method == b"HEAD" and status == b"503")
    return status == b"200" or is_feedback or is_not_ready, answer


async def _read(reader: asyncio.StreamReader, *, is_head: bool) -> bytes:
    answer = b""
    while part := await reader.read(65_536):
        answer += part
        head, _, body = answer.partition(b"\r\n\r\n")
        lengths = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        has_no_body = head.startswith(b"HTTP/1.1 204 ")
        if has_no_body or (lengths and (is_head or len(body) >= int(lengths[0]))):
            break
    return answer


def _bytes(case: Case, texts: dict[str, str]) -> bytes:
    tricks = HEADERS[case.headers].lines
    lines = [line.format(key=texts["right"], bad=texts["unknown"]) for line in tricks]
    names = [line.partition(":")[0].lower().strip() for line in tricks]
    if "host" not in names:
        lines.insert(0, "host: gateway")
    if texts[case.key_state] and "authorization" not in names:
        lines.append(f"authorization: Bearer {texts[case.key_state]}")
    body = b"" if case.method.upper() in (b"GET", b"HEAD", b"TRACE", b"CONNECT") else BODIES.get(case.path, ASK)
    if body and "content-length" not in names:
        lines.append(f"content-length: {len(body)}")
    head = case.method + b" " + case.target(texts["right"]) + b" HTTP/1.1\r\n" + "\r\n".join(lines).encode()
    return head + b"\r\n\r\n" + body


def report(found: Findings, seed: int) -> str:
    """Say what was tried and what came of it."""
    tried = sum(found.tried.values())
    bound = beta.ppf(0.95, len(found.bypasses) + 1, max(1, found.tried["refused"] - len(found.bypasses)))
    lines = [
        f"seed {seed}, {tried} requests in {found.seconds:.0f} s: {found.tried['refused']} that must be refused, "
        f"{found.tried['allowed']} that must not; {len(MAY)} routes of the gateway, {len(vllm_routes())} of vLLM, "
        f"{len(SCOPES)} key states",
        f"bypasses {len(found.bypasses)} (95 % upper bound of the share {bound:.1e})",
        f"wrongly refused {len(found.wrongly_refused)}, answers that tell a path or trace {len(found.telling)}, "
        f"unanswered {len(found.unanswered)}",
        f"reached the engine {found.engine_hits}, answered by it {found.engine_answers}, "
        f"on other routes {len(found.strange_targets)}",
    ]
    samples: Sequence[str] = [
        *found.bypasses[:10],
        *found.wrongly_refused[:10],
        *found.telling[:3],
        *found.unanswered[:3],
    ]
    return "\n".join([*lines, *samples])


def main() -> None:
    """Run the cases and exit with 1 if one went wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=40_000, help="requests (40000)")
    parser.add_argument("--seed", type=int, default=4, help="seed of the combinations (4)")
    parser.add_argument("--plant", choices=sorted(PLANTS), help="break the gateway so")
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = uvloop.run(examine(parsed.count, parsed.seed, Path(folder), PLANTS.get(parsed.plant)))
    print(report(found, parsed.seed))
    raise SystemExit(0 if found.is_clean else 1)


if __name__ == "__main__":
    main()
