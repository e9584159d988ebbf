"""Load an endpoint with vLLM's bench client: time to first token, time per token and throughput, by p50 and p99.

    driftwheel bench --streams 1 8 64 --picture load.svg

It asks this loop's gateway for its alias, with a key of DRIFTWHEEL_API_KEYS, or another endpoint's model, with
OPENAI_API_KEY. The gateway logs these requests, and neither watches nor learns them. Exit status 1 says that some were
not answered.
"""

import argparse
import json
import os
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

from driftwheel.argument_types import whole
from driftwheel.callers.api_keys import own_key
from driftwheel.callers.exposure import is_loopback
from driftwheel.cli.command import add_common_arguments, open_ledger, settings_from
from driftwheel.errors import ConfigError, EngineError, NotFoundError
from driftwheel.files.artifacts import write_text
from driftwheel.files.version_files import bring
from driftwheel.records.alias_key import AliasKey
from driftwheel.settings.serving import ServeSettings
from driftwheel.settings.settings import StorageSettings
from driftwheel.store.alias import live_version
from driftwheel.store.ledger import Ledger
from serve.loading.load_picture import picture
from serve.loading.vllm_client import Load, Measured, Target, check_client, measure

HEADS = ("streams", "answers/s", "tokens/s", "first token p50", "p99 (ms)", "per token p50", "p99 (ms)", "failed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_common_arguments(parser)
    parser.add_argument("--streams", nargs="+", type=whole(1, 4096), default=[1, 8], metavar="N", help="at once (1 8)")
    parser.add_argument("--requests", type=whole(1, 1_000_000), default=64, metavar="N", help="for each of these (64)")
    parser.add_argument("--input-tokens", type=whole(1, 1_000_000), default=128, metavar="N", help="prompt's (128)")
    parser.add_argument("--output-tokens", type=whole(2, 1_000_000), default=64, metavar="N", help="answer's (64)")
    parser.add_argument("--url", help="endpoint, http://HOST:PORT (this loop's gateway)")
    parser.add_argument("--model", help="its model's name (the alias)")
    parser.add_argument("--tokenizer", help="folder or hub name of its tokenizer (the live version's)")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw the loads into a file, too")


def main(arguments: argparse.Namespace) -> None:
    """Load, print, and draw; raises EngineError if the client fails or a request was not answered."""
    check_client()
    settings = settings_from(arguments)
    if arguments.picture is not None and arguments.picture.suffix != ".svg":
        raise ConfigError(f"--picture {arguments.picture}: only .svg is drawn; name such a file")
    tokenizer = arguments.tokenizer
    if tokenizer is None:
        with closing(open_ledger(settings)) as ledger:
            tokenizer = live_tokenizer(settings.storage, ledger, settings.alias_key)
    target = target_of(settings.serve, arguments, tokenizer)
    sizes = {"input_tokens": arguments.input_tokens, "output_tokens": arguments.output_tokens}
    measured = []
    for streams in arguments.streams:
        load = Load(streams=streams, requests=max(arguments.requests, streams), **sizes)
        measured.append(measure(target, load))
        line = json.dumps(asdict(measured[-1])) if arguments.json else row(measured[-1], is_first=len(measured) == 1)
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    if arguments.picture is not None:
        title = f"{target.model} at {target.url}: {arguments.input_tokens} tokens in, {arguments.output_tokens} out"
        write_text(arguments.picture, picture(measured, title))
    if failed := sum(one.failed for one in measured):
        asked = sum(one.requests for one in measured)
        raise EngineError(f"{failed} of {asked} requests were not answered; the gateway's log says why")


def row(measured: Measured, *, is_first: bool) -> str:
    """Return a load as a line of the table, the first one below the heads."""
    m = measured
    times = (m.first_token_p50_ms, m.first_token_p99_ms, m.per_token_p50_ms, m.per_token_p99_ms)
    cells = [str(m.streams), f"{m.requests_per_second:.2f}", f"{m.output_tokens_per_second:.1f}"]
    cells += [*(f"{time:.1f}" for time in times), str(m.failed)]
    line = "  ".join(f"{cell:>{len(head)}}" for cell, head in zip(cells, HEADS, strict=True))
    return f"{'  '.join(HEADS)}\n{line}" if is_first else line


def target_of(serve: ServeSettings, arguments: argparse.Namespace, tokenizer: str) -> Target:
    """Return the endpoint that is loaded, with the key that it may be shown."""
    url = (arguments.url or f"http://{serve.address}").rstrip("/")
    # A key of this loop is good for all that its gateway does, and nobody else's endpoint may see it.
    is_ours = arguments.url is None or is_loopback(urlsplit(url).hostname or "")
    return Target(
        url=url,
        model=arguments.model or serve.alias,
        tokenizer=tokenizer,
        key=(own_key() if is_ours else None) or os.environ.get("OPENAI_API_KEY"),
    )


def live_tokenizer(storage: StorageSettings, ledger: Ledger, key: AliasKey) -> str:
    """Return the folder of the live version, fetched if need be; raises NotFoundError if nothing is live."""
    version = live_version(ledger, *key)
    if version is None:
        raise NotFoundError("nothing is live, so there is no tokenizer to make prompts with; name one by --tokenizer")
    bring(storage, version)
    return version.path
