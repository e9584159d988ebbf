"""Which requests are neither watched nor learned: those whose sender says so, and those that a rule finds.

Probers, and the requests for a title that chat programs send beside each conversation, are no questions of users. They
are answered and logged as all others, but their rows go by another alias, so that the monitor, the mirror and the next
dataset do not take them for users' requests. A canary hears of those that its engine failed: no word of a sender hides
a broken engine.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from driftwheel.settings.serving import UnwatchedSettings
from serve.refusals import RequestRefused
from serve.relaying.call import Call, text_of, truth

WATCH = b"x-driftwheel-watch"
"""The header of who knows best: `no` of a prober, `yes` of a request that a rule would find."""
READ_CHARACTERS = 4096
"""So much of a text a pattern is searched in: what marks a request stands at its start, and patterns can be slow."""
_READ = msgspec.json.Decoder()


class Unwatched:
    """The rules of `traffic.unwatched`."""

    def __init__(self, settings: UnwatchedSettings) -> None:
        self._user_agents = _compiled(settings.user_agents)
        self._system_prompts = _compiled(settings.system_prompts)
        self._first_texts = _compiled(settings.first_texts)
        self.has_rules = bool(self._user_agents or self._system_prompts or self._first_texts)

    def covers(self, headers: Mapping[bytes, bytes], call: Call) -> bool:
        """Say whether a request is not to be watched; raises RequestRefused if its header is neither yes nor no."""
        said = headers.get(WATCH)
        if said is not None:
            is_watched = truth(said.decode("latin-1").strip())
            if is_watched is None:
                raise RequestRefused(400, f"{WATCH.decode()} must be yes or no", "invalid_header")
            return not is_watched
        if _find(self._user_agents, headers.get(b"user-agent", b"").decode("latin-1")):
            return True
        if not (self._system_prompts or self._first_texts):
            return False
        system, first = opening_of(call.body)
        return _find(self._system_prompts, system) or _find(self._first_texts, first)


def opening_of(body: bytes) -> tuple[str, str]:
    """Return a request's system prompt and its first user text, each empty where there is none."""
    try:
        fields = _READ.decode(body)
    except msgspec.DecodeError:  # what is JSON to Python alone, such as NaN, is watched
        return "", ""
    messages = fields.get("messages", fields.get("input"))
    if not isinstance(messages, list):
        return text_of(fields.get("instructions")), text_of(fields.get("prompt", messages))
    system = _first_of(messages, ("system", "developer")) or text_of(fields.get("instructions"))
    return system, _first_of(messages, ("user",))


def _first_of(messages: Sequence[Any], roles: Sequence[str]) -> str:
    found = (m.get("content") for m in messages if isinstance(m, dict) and m.get("role") in roles)
    return text_of(next(found, None))


def _compiled(patterns: Sequence[str]) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern) for pattern in patterns)


def _find(patterns: Sequence[re.Pattern[str]], text: str) -> bool:
    return any(pattern.search(text, 0, READ_CHARACTERS) for pattern in patterns)
