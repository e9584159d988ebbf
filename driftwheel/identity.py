"""Ids, hashes and moments: what tells one record of the ledger from every other, and says when it was made."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any


def utc_now() -> datetime:
    """Return the present moment as an aware UTC time."""
    return datetime.now(UTC)


def content_hash(value: Any) -> str:
    """Return the sha256 of a JSON-able value, the same for equal values in any key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def new_id(prefix: str, content: Any, at: datetime | None = None) -> str:
    """Return ``prefix_YYYYMMDDTHHMMSSmmm_hash8``: sortable by time, checkable by content."""
    moment = at or utc_now()
    stamp = moment.strftime("%Y%m%dT%H%M%S") + f"{moment.microsecond // 1000:03d}"
    return f"{prefix}_{stamp}_{content_hash(content)[:8]}"
