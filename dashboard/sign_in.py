"""Sign in to the dashboard with an API key: the key is asked for once, and a cookie without it stands for the session.

What the key is good for is looked up at each use: `see` is any of the scopes read, label and operate.
"""

import html
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta

from driftwheel.callers.key_holders import KeyHolder, holder_named, holder_of
from driftwheel.records.bookkeeping import Scope
from driftwheel.store.ledger import Ledger

SEEING = frozenset({Scope.READ, Scope.LABEL, Scope.LABEL_TRUSTED, Scope.OPERATE})
"""A key with one of these may look at the pages; one that may only ask the model may not."""
SESSION_HOURS = 12
MOST_SESSIONS = 10_000
MOST_OF_A_KEY = 100
"""Of one key, so that whoever signs in again and again pushes out nobody but those of the same key."""
CALLER_HEADER = "x-driftwheel-caller"
"""By which the pages are told who asks; whatever a client sends under this name is thrown away."""
PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
    ),
    "cache-control": "no-store",
}
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Sign in, driftwheel</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark"><style>
:root{{--ground:#fff;--field:#f4f6f8;--ink:#1d2730;--faint:#5c6670;--accent:#2f6f8f;--on:#fff;--bad:#b5322a}}
@media (prefers-color-scheme:dark){{:root{{
--ground:#12181e;--field:#1b232b;--ink:#e4e9ee;--faint:#9aa5af;--accent:#5ba3c6;--on:#12181e;--bad:#f08a80}}}}
body{{font:16px/1.5 system-ui,sans-serif;max-width:24rem;margin:15vh auto;padding:0 1rem;background:var(--ground);
color:var(--ink)}} h1{{font-size:1.6rem;margin:0}} small{{color:var(--faint);display:block;margin:.25rem 0 1.5rem}}
input,button{{font:inherit;padding:.5rem .75rem;border-radius:6px;box-sizing:border-box}}
input{{width:100%;margin:.25rem 0 .75rem;border:1px solid var(--faint);background:var(--field);color:inherit}}
button{{border:0;background:var(--accent);color:var(--on);cursor:pointer}} p{{color:var(--bad)}}
code{{display:block;overflow-x:auto;white-space:nowrap}}</style>
<h1>driftwheel</h1><small>Sign in to the dashboard of this loop</small><form method="post" action="/login">
<label for="key">API key</label>
<input id="key" name="key" type="password" autocomplete="current-password" required autofocus aria-describedby="which">
<small id="which">Any key that may read, label or operate. Whoever runs the loop makes one:
<code>driftwheel keys create NAME --scopes operate</code></small>
<button>Sign in</button></form><p role="alert">{said}</p></html>"""


def sign_in_page(said: str = "") -> str:
    """Return the page that asks for a key, with a sentence."""
    return _PAGE.format(said=html.escape(said))


@dataclass(frozen=True)
class Session:
    """Somebody who has shown a key."""

    caller_id: str
    ends_at: datetime


class Sessions:
    """Who is signed in; they sign in again after a restart."""

    def __init__(self, ledger: Ledger, project: str) -> None:
        self._ledger, self._project = ledger, project
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """How many are signed in, or were and have not been forgotten."""
        return len(self._sessions)

    @property
    def cookie(self) -> str:
        """The cookie's name: a browser sends the cookies of one host to all its ports, where another loop may be."""
        return f"driftwheel_{self._project}"

    def sign_in(self, key: str, now: datetime) -> str | None:
        """Return the token of a new session, or None for a key that is not good, or not for this."""
        holder = holder_of(self._ledger, self._project, key, now)
        if holder is None or SEEING.isdisjoint(holder.scopes):
            return None
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._make_room(holder.id, now)
            self._sessions[token] = Session(holder.id, now + timedelta(hours=SESSION_HOURS))
        return token

    def _make_room(self, caller_id: str, now: datetime) -> None:
        """Drop the sessions that have ended, then the oldest of this key; of others only where there are too many."""
        for token, session in list(self._sessions.items()):
            if now >= session.ends_at:
                del self._sessions[token]
        own = [token for token, session in self._sessions.items() if session.caller_id == caller_id]
        for token in own[: max(0, len(own) + 1 - MOST_OF_A_KEY)]:
            del self._sessions[token]
        while len(self._sessions) >= MOST_SESSIONS:
            self._sessions.popitem(last=False)

    def holder(self, token: str, now: datetime) -> KeyHolder | None:
        """Return who is signed in, if the session has not ended and the key is still good for it."""
        session = self._sessions.get(token)
        if session is None or now >= session.ends_at:
            return None
        holder = holder_named(self._ledger, self._project, session.caller_id, now)
        return holder if holder is not None and not SEEING.isdisjoint(holder.scopes) else None

    def sign_out(self, token: str) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(token, None)
