"""The exception classes; every message says what happened, to which id or file, and what to do next.

DriftwheelError
├── ConfigError          ValueError      a settings file, variable or flag is wrong
├── DataError            ValueError      a data file or row cannot be used
├── NotFoundError        LookupError     an id, alias or file does not exist
├── ConflictError        RuntimeError    a status moved first, a port is taken, a second worker runs
├── ArtifactError        ValueError      an artifact is incomplete or does not match its manifest
├── ParityError          ValueError      what is served is not what was trained; names the hop
├── EngineError          RuntimeError    an engine did not start, died, or is not the model it claims
├── GateError            RuntimeError    a verdict forbids the step
├── SchemaError          RuntimeError    the database is a newer driftwheel's, or another program's
├── RecordError          ValueError      a record lacks a value, or names a record that is not there
├── CancelledError       RuntimeError    a person ended it
├── TimeLimitError       TimeoutError    it ran longer than its settings let it, and was ended
└── StorageError         OSError         the disk or the database refused a write

The command line prints a DriftwheelError as one line and exits 1; anything else is a bug and keeps
its traceback. To add a leaf, derive it from DriftwheelError and from the standard error it is closest to.
"""


class DriftwheelError(Exception):
    """Anything that a person can put right."""


class ConfigError(DriftwheelError, ValueError):
    """A settings file, an environment variable or a flag is wrong."""


class DataError(DriftwheelError, ValueError):
    """A data file or a row in it cannot be used."""


class NotFoundError(DriftwheelError, LookupError):
    """An id, alias or file does not exist."""


class ConflictError(DriftwheelError, RuntimeError):
    """Something else moved first: a status, a port, a lock."""


class ArtifactError(DriftwheelError, ValueError):
    """An artifact is incomplete or does not match its manifest."""


class ParityError(DriftwheelError, ValueError):
    """What is served is not what was trained: the hop between two forms of the model that changed it."""

    def __init__(self, hop: str, check: str, reason: str) -> None:
        super().__init__(f"the {hop} model is not what was trained ({check}): {reason}")
        self.hop, self.check = hop, check


class EngineError(DriftwheelError, RuntimeError):
    """An engine did not start, died, or is not the model it claims to be."""


class GateError(DriftwheelError, RuntimeError):
    """A verdict forbids the step."""


class SchemaError(DriftwheelError, RuntimeError):
    """The database's tables are a newer driftwheel's, or another program's."""


class RecordError(DriftwheelError, ValueError):
    """A record lacks a value, or names a record that is not there."""


class CancelledError(DriftwheelError, RuntimeError):
    """A person ended what was under way."""


class TimeLimitError(DriftwheelError, TimeoutError):
    """Something ran longer than its settings let it, and was ended."""


class StorageError(DriftwheelError, OSError):
    """The disk or the database refused a write."""
