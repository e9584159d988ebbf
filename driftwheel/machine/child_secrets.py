"""Which secrets of its environment a process hands on to a child: none, but for those that the child needs.

What a process has in its environment can be read by whoever takes over the process, and lands in its crash dumps. A
program of others, such as pip, vLLM or lm-eval, gets none; a stage gets the keys that it asks with.
"""

import re
from collections.abc import Collection, Mapping

JUDGE_KEY, PARAPHRASE_KEY = "DRIFTWHEEL_JUDGE_API_KEY", "DRIFTWHEEL_PARAPHRASE_API_KEY"
NOTIFY_ADDRESSES = "DRIFTWHEEL_NOTIFY"
"""Where people are told of alarms; such addresses hold passwords."""
HUB_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")
"""For a base model or a data set of the hub."""
_OURS, _NO_SECRET = "DRIFTWHEEL", "DRIFTWHEEL_LOG_LEVEL"
_NAME = re.compile(
    r"(^|_)(API_?KEYS?|KEYS?|TOKENS?|SECRETS?|PASSWORD|PASSWD|PASS|CREDENTIALS?)$|^PGPASS|OTLP_HEADERS$", re.I
)
_PASSWORD_IN_URL = re.compile(r"://[^/\s@]*:[^/\s@]*@")
_WAY_OUT = re.compile(r"^(PIP|UV)_|_PROXY$", re.I)
"""How packages and the network are reached; an installer without these would ask another index."""


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what may be a secret, as a program of others gets it."""
    return {name: value for name, value in environ.items() if not _is_secret(name, value)}


def secrets_of_others(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what may be a secret of another system, such as the hub's token, a cloud's or an experiment tracker's."""
    return {n: value for n, value in environ.items() if _is_secret(n, value) and not n.startswith(_OURS)}


def for_stage(environ: Mapping[str, str], needs: Collection[str] = ()) -> dict[str, str]:
    """Return the environment of a process of ours: other systems' secrets, and of our own only those that it needs."""
    needed = {name: environ[name] for name in needs if name in environ}
    return without_secrets(environ) | secrets_of_others(environ) | needed


def _is_secret(name: str, value: str) -> bool:
    if name.startswith(_OURS):
        return name != _NO_SECRET
    return not _WAY_OUT.search(name) and bool(_NAME.search(name) or _PASSWORD_IN_URL.search(value))
