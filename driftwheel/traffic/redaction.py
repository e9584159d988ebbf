"""Samples Traffic rows, and redacts what must not be kept of them.

`TrafficLog` does this before a row is written, so that nothing that a rule removes reaches the database, its
write-ahead log, the dashboard or a Dataset. Not found are names, and what is in pictures, audio and token ids.
"""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from driftwheel.foreign_json import NestingError, read_json
from driftwheel.records.nouns import Traffic
from driftwheel.settings.serving import TrafficSettings
from driftwheel.traffic.personal_data import redact

LONG_NUMBER = 10**11
"""Smaller numbers are no card and no account."""


@dataclass(frozen=True)
class Rules:
    """What no row may hold: kinds of personal data, and patterns of the operator's own."""

    kinds: frozenset[str]
    patterns: tuple[tuple[str, re.Pattern[str]], ...]

    def clean(self, text: str) -> str:
        """Return a text with `<EMAIL>` and the like in place of what the rules forbid.

        JSON is read first, so that escapes and JSON within its strings hide nothing; what is nested too deeply to
        be read is not kept. A text in which nothing is found comes back as it was.
        """
        if text.lstrip()[:1] not in ("{", "["):
            return self._clean_text(text)
        try:
            value = read_json(text)
            cleaned = self._clean_value(value)
        except (NestingError, RecursionError):
            return ""
        except ValueError:
            return self._clean_text(text)
        return text if cleaned == value else json.dumps(cleaned, ensure_ascii=True)

    def clean_name(self, name: str) -> str:
        """Return a user's or conversation's name, or a hash of it: rows of one user stay together."""
        if self.clean(name) == name:
            return name
        return f"hash_{hashlib.blake2b(name.encode('utf-8', 'replace'), digest_size=8).hexdigest()}"

    def clean_row(self, row: Traffic) -> Traffic:
        """Return a row without what the rules forbid.

        The body as sent is not kept, because tokens and their log-probabilities are pieces in which no rule finds
        anything; the answer's text is.
        """
        return replace(
            row,
            prompt=self.clean(row.prompt),
            request=self.clean(row.request),
            answer=self.clean(row.answer),
            error=None if row.error is None else self.clean(row.error),
            user_id=self.clean_name(row.user_id),
            conversation_id=self.clean_name(row.conversation_id),
            response=None,
        )

    def _clean_text(self, text: str) -> str:
        for name, pattern in self.patterns:
            text = pattern.sub(f"<{name}>", text)
        return redact(text, self.kinds)[0] if self.kinds else text

    def _clean_value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, list):
            return [self._clean_value(item) for item in value]
        if isinstance(value, dict):
            return {self.clean(name): self._clean_value(item) for name, item in value.items()}
        if isinstance(value, int) and abs(value) > LONG_NUMBER:
            cleaned = self._clean_text(str(value))
            return value if cleaned == str(value) else cleaned
        return value


def rules_of(traffic: TrafficSettings) -> Rules | None:
    """Return the rules that the settings name, or None if there are none."""
    if not traffic.redact and not traffic.redact_patterns:
        return None
    patterns = tuple((name, re.compile(pattern)) for name, pattern in traffic.redact_patterns.items())
    return Rules(frozenset(kind.upper() for kind in traffic.redact), patterns)


def keeping(traffic: TrafficSettings) -> Callable[[Traffic], Traffic | None] | None:
    """Return what turns a row into the one to write, or into None; None if every row is written as it is."""
    rules = rules_of(traffic)
    if rules is None and traffic.share == 1 and traffic.keep_responses:
        return None

    def keep(row: Traffic) -> Traffic | None:
        if not is_drawn(row.id, traffic.share):
            return None
        if rules is not None:
            return rules.clean_row(row)
        return row if traffic.keep_responses else replace(row, response=None)

    return keep


def is_drawn(request_id: str, share: float) -> bool:
    """Say whether a request is among the share that is logged; the id decides, so it can be asked again."""
    draw = int.from_bytes(hashlib.blake2b(request_id.encode(), digest_size=8).digest())
    return draw < share * 2**64
