"""An object store by its URL, a folder or a bucket of S3: puts, reads, lists and deletes objects, each whole or not.

What S3 needs beside the bucket comes from the environment, in the names that its own tools read: AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_REGION, and AWS_ENDPOINT_URL for a store that is not Amazon's. A call that fails is tried
again with growing waits, as obstore does it, and then raises one StorageError.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from driftwheel.errors import ConfigError, NotFoundError, StorageError

PART_BYTES = 16 << 20
"""Of a file that is sent in parts; S3 takes 10,000 parts, so this is enough for files of 160 GB."""
PIECE_BYTES = 4 << 20
"""Of an object that is read."""
TRIES = 5
"""How often a call is tried again, as long as the patience lasts; full stores and lost connections are often short."""
_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"status code: (\d{3}[^:\n]*)")


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """An object as a listing shows it."""

    key: str
    bytes: int
    changed_at: datetime


class ObjectStore:
    """One folder or bucket prefix; `url` is how messages name it. Safe to share between threads."""

    def __init__(self, url: str, store: Any) -> None:
        self.url, self._store = url, store

    def put_file(self, key: str, path: Path) -> None:
        """Send a file; one that is larger than a part is sent in parts, and is there when the last one has come."""
        import obstore

        with self._told(f"store {path.name} as {key}"):
            obstore.put(self._store, key, path, chunk_size=PART_BYTES)

    def put(self, key: str, content: bytes) -> None:
        """Send bytes as one object."""
        import obstore

        with self._told(f"store {key}"):
            obstore.put(self._store, key, content)

    def read(self, key: str) -> bytes:
        """Return an object's bytes; raises NotFoundError."""
        return b"".join(self.pieces(key))

    def pieces(self, key: str) -> Iterator[bytes]:
        """Give an object's bytes, piece by piece; raises NotFoundError before the first."""
        import obstore

        with self._told(f"read {key}"):
            for piece in obstore.get(self._store, key).stream(min_chunk_size=PIECE_BYTES):
                yield bytes(piece)

    def find(self, key: str) -> StoredObject | None:
        """Return what is known of an object, or None if it is not there."""
        import obstore

        try:
            with self._told(f"look at {key}"):
                return _stored(obstore.head(self._store, key))
        except NotFoundError:
            return None

    def listing(self, prefix: str) -> list[StoredObject]:
        """Return every object below a prefix."""
        import obstore

        with self._told(f"list {prefix}"):
            return [_stored(found) for batch in obstore.list(self._store, prefix) for found in batch]

    def delete(self, key: str) -> None:
        """Delete an object; one that is gone already is fine."""
        import obstore

        try:
            with self._told(f"delete {key}"):
                obstore.delete(self._store, key)
        except NotFoundError:
            return

    @contextmanager
    def _told(self, action: str) -> Iterator[None]:
        """Raise what the store refuses as an error of ours."""
        from obstore.exceptions import BaseError

        try:
            yield
        except FileNotFoundError as error:
            if _code(error) == "NoSuchBucket":
                raise StorageError(f"cannot {action}: {self.url} has no such bucket; make it first") from error
            raise NotFoundError(f"{self.url} has no {action.rpartition(' ')[2]}") from error
        except (BaseError, OSError) as error:
            raise StorageError(f"cannot {action} in {self.url}: {_reason(error)}") from error


def open_store(url: str, patience_seconds: float) -> ObjectStore:
    """Return the store at `s3://BUCKET/PREFIX`, or in a folder; nothing is asked of it yet.

    `patience_seconds` bounds one request, and from which moment on a call that failed is not tried again. Raises
    ConfigError where obstore is not installed or the URL is none.
    """
    try:
        from obstore.exceptions import BaseError
        from obstore.store import LocalStore, S3Store
    except ImportError as error:
        raise ConfigError("storage.artifacts needs obstore: pip install -e '.[s3]'") from error
    parts = urlsplit(url)
    seconds = timedelta(seconds=patience_seconds)
    try:
        if parts.scheme == "s3":
            endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
            store = S3Store(
                parts.netloc,
                prefix=parts.path.strip("/") or None,
                # The server compares what came with what was sent before it says that it has it.
                config={"checksum_algorithm": "SHA256"},
                client_options={
                    "allow_http": endpoint.startswith("http://"),
                    "connect_timeout": min(seconds, timedelta(seconds=5)),
                    "timeout": seconds,
                },
                retry_config={"max_retries": TRIES, "retry_timeout": seconds},
            )
            return ObjectStore(url, store)
        return ObjectStore(url, LocalStore(url, mkdir=True))
    except (BaseError, OSError, ValueError) as error:
        raise ConfigError(f"storage.artifacts: cannot open {url}: {_reason(error)}") from error


def _stored(found: Any) -> StoredObject:
    return StoredObject(key=found["path"], bytes=found["size"], changed_at=found["last_modified"])


def _code(error: Exception) -> str:
    found = _CODE.search(str(error))
    return found[1] if found else ""


def _reason(error: Exception) -> str:
    """Return what a person needs of obstore's text, which goes on with the whole answer and a dump of its own types."""
    text = str(error)
    status = _STATUS.search(text)
    words = [word for word in (_code(error), status[1].strip() if status else "") if word]
    first = text.partition("\n")[0]
    return "the store answered " + ", ".join(words) if words else first
