"""Removes usage events from a stream where the gateway asked for them and the client did not.

vLLM writes its `system_fingerprint` into a stream's last message: the usage event where there is one, else the event
in which a choice ends. Where the usage event is left out, the fingerprint goes where it would have stood without it.
"""

import json

_END_OF_CHOICE = b'"finish_reason":"'
_NAME = b'"system_fingerprint"'


class UsageFilter:
    """One stream without the usage event that its client did not ask for."""

    def __init__(self, fingerprint: str | None) -> None:
        """Take the engine's fingerprint, empty where it has none; None where no usage event of it was seen yet."""
        self.fingerprint = fingerprint
        self._waiting: list[bytes] = []

    def passed(self, event: bytes) -> bytes:
        """Return what the client may have after an event that is not the usage."""
        if self.fingerprint is None and (self._waiting or _ends_choice(event)):
            self._waiting.append(event)
            return b""
        return self._marked(event)

    def after_usage(self, fingerprint: str) -> bytes:
        """Take the fingerprint of the usage event and return what waited for it."""
        self.fingerprint = fingerprint
        return self.waiting()

    def waiting(self) -> bytes:
        """Return the events that wait for the fingerprint; none of them does any longer."""
        waiting, self._waiting = self._waiting, []
        return b"".join(self._marked(event) for event in waiting)

    def _marked(self, event: bytes) -> bytes:
        if not self.fingerprint or not _ends_choice(event):
            return event
        # Written in by hand: parsing the event and writing it again would alter its numbers and escapes.
        value = json.dumps(self.fingerprint, ensure_ascii=False).encode()
        end = event.rindex(b"}")
        return b"%b,%b:%b%b" % (event[:end], _NAME, value, event[end:])


def _ends_choice(event: bytes) -> bool:
    return _END_OF_CHOICE in event and _NAME not in event
