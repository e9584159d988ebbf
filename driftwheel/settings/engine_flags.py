"""Flags of `vllm serve` that open an engine: to other machines, to files, to code of others, or to what should be told.

The gateway guards an engine by being the only one who reaches it, over routes that it chose; a flag must not undo that.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

_CODE = "runs code that comes with a model or from a module of somebody's choice"
_REACH = "lets others than the gateway reach the engine"
_ROUTES = "opens routes of the engine, or what a request may do there"
_OURS = "is decided by driftwheel, which would not find the engine, or would take it for another"
_TELLS = "writes what users ask into a log, where no rule of traffic.redact reaches"
_SECRET = "shows a secret to every user of this machine"
REFUSED = {
    "trust-remote-code": _CODE,
    "middleware": _CODE,
    "worker-cls": _CODE,
    "worker-extension-cls": _CODE,
    "scheduler-cls": _CODE,
    "logits-processors": _CODE,
    "io-processor-plugin": _CODE,
    "tool-parser-plugin": _CODE,
    "reasoning-parser-plugin": _CODE,
    "model-class-overrides": _CODE,
    "kv-transfer-config": _CODE,
    "ec-transfer-config": _CODE,
    "logging-config": _CODE,
    "log-config-file": _CODE,
    "config": "reads further flags from a file, where nobody looks at them",
    "allowed-local-media-path": "lets a request read files of this machine",
    "host": _REACH,
    "uds": _REACH,
    "grpc-port": _REACH,
    "kv-events-config": _REACH,
    "root-path": _REACH,
    "allow-credentials": _REACH,
    "allowed-origins": _REACH,
    "allowed-methods": _REACH,
    "allowed-headers": _REACH,
    "enable-scale-out": _REACH,
    "tool-server": _ROUTES,
    "trust-request-chat-template": _ROUTES,
    "trust-request-mm-kwargs": _ROUTES,
    "enable-prompt-embeds": _ROUTES,
    "enable-mm-embeds": _ROUTES,
    "enable-sleep-mode": _ROUTES,
    "enable-tokenizer-info-endpoint": _ROUTES,
    "enable-offline-docs": _ROUTES,
    "profiler-config": _ROUTES,
    "weight-transfer-config": _ROUTES,
    "enable-log-requests": _TELLS,
    "enable-log-outputs": _TELLS,
    "api-key": _SECRET,
    "hf-token": _SECRET,
    "port": _OURS,
    "model": _OURS,
    "served-model-name": _OURS,
    "fingerprint-mode": _OURS,
    "fingerprint-value": _OURS,
    "ssl-keyfile": _OURS,
    "ssl-certfile": _OURS,
    "ssl-ca-certs": _OURS,
    "ssl-cert-reqs": _OURS,
}
"""Names of flags as vLLM 0.32 has them, each with why it is refused."""
_OTHERS = frozenset({"reasoning-parser", "ssl-ciphers", "enable-ssl-refresh"})
"""Flags of their own whose names begin like one above: vLLM takes the beginning of a name for the whole, if only one
name begins so."""
_PICKLED = frozenset({"pt", "npcache", "tensorizer"})
"""Values of `--load-format` for files that may hold code; an artifact has safetensors alone."""
_END_OF_NAME = re.compile(r"[=.+ ]")


def refuse_opening_flags(arguments: Iterable[str]) -> list[str]:
    """Return the arguments; raises ValueError naming the first flag that would open the engine, however it is spelled.

    vLLM takes `--x=y`, `--x y`, underscores, `--x.key y` and the beginnings of names.
    """
    arguments = list(arguments)
    for flag, value in _flags(arguments):
        for name, reason in REFUSED.items():
            if flag and name.startswith(flag) and flag not in _OTHERS:
                raise ValueError(f"engine_args: --{name} is refused, because it {reason}; leave it out")
        if flag and "load-format".startswith(flag) and value in _PICKLED:
            raise ValueError(f"engine_args: --load-format {value} is refused, because it {_CODE}; leave it out")
    return arguments


def _flags(arguments: list[str]) -> Iterator[tuple[str, str]]:
    """Give each flag's name as vLLM reads it, with what follows."""
    for argument, following in pairwise([*arguments, ""]):
        if argument.startswith("--"):
            name, *rest = _END_OF_NAME.split(argument.removeprefix("--"), maxsplit=1)
            yield name.replace("_", "-"), rest[0] if rest else following
