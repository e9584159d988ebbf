"""What vLLM's bench client measured is read as it is; what it could not measure is an error, never a number."""

import json
import os
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from driftwheel.errors import EngineError
from serve.loading.load_picture import picture
from serve.loading.vllm_client import Load, Measured, Target, measure
from serve.verbs.bench import HEADS, row

LOAD = Load(streams=8, requests=64, input_tokens=128, output_tokens=32)
TARGET = Target(url="http://127.0.0.1:8000", model="support", tokenizer="/models/one", key="secret")
RESULT = {
    "completed": 64,
    "failed": 0,
    "duration": 2.0,
    "request_throughput": 32.0,
    "output_throughput": 1024.0,
    "p50_ttft_ms": 11.0,
    "p99_ttft_ms": 55.0,
    "p50_tpot_ms": 2.5,
    "p99_tpot_ms": 7.5,
}
CLIENT = """
import json, os, sys
words = sys.argv[1:]
value = lambda flag: words[words.index(flag) + 1]
result = json.loads(os.environ["RESULT"])
seen = {"words": words, "key": os.environ.get("OPENAI_API_KEY"), "ours": os.environ.get("DRIFTWHEEL_API_KEYS")}
open(os.environ["SEEN"], "w").write(json.dumps(seen))
if result is None:
    sys.exit("Traceback\\nOSError: no tokenizer there")
open(os.path.join(value("--result-dir"), value("--result-filename")), "w").write(json.dumps(result))
"""
"""A stand-in for vLLM's client, which takes half a minute to import what it needs."""


def ask(monkeypatch: pytest.MonkeyPatch, folder: Path, result: object) -> Measured:
    monkeypatch.setenv("RESULT", json.dumps(result))
    monkeypatch.setenv("SEEN", str(folder / "seen.json"))
    monkeypatch.setenv("DRIFTWHEEL_API_KEYS", "ours")
    return measure(TARGET, LOAD, [sys.executable, "-S", "-c", CLIENT])


def test_the_client_is_asked_for_this_load_and_its_percentiles_are_returned(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert ask(monkeypatch, tmp_path, RESULT) == Measured(
        streams=8,
        requests=64,
        failed=0,
        seconds=2.0,
        requests_per_second=32.0,
        output_tokens_per_second=1024.0,
        first_token_p50_ms=11.0,
        first_token_p99_ms=55.0,
        per_token_p50_ms=2.5,
        per_token_p99_ms=7.5,
    )
    seen = json.loads((tmp_path / "seen.json").read_text())
    words = seen["words"]
    flags = dict(pairwise(words))
    assert words[:2] == ["bench", "serve"]
    assert (flags["--max-concurrency"], flags["--num-prompts"]) == ("8", "64")
    assert (flags["--random-input-len"], flags["--random-output-len"]) == ("128", "32")
    assert flags["--header"] == "x-driftwheel-watch=no"
    assert (seen["key"], seen["ours"]) == (
        "secret",
        None,
    )  # by the environment, which no other user of the machine sees
    assert not os.path.exists(flags["--result-dir"])


def test_a_client_that_fails_is_one_error_with_its_last_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="status 1: OSError: no tokenizer there"):
        ask(monkeypatch, tmp_path, None)


def test_a_load_without_one_answer_is_no_measurement(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="answered none of 64 requests for 'support'"):
        ask(monkeypatch, tmp_path, RESULT | {"completed": 0, "failed": 64})


def test_a_table_has_a_row_for_each_load_below_its_head(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    measured = ask(monkeypatch, tmp_path, RESULT)
    head, line = row(measured, is_first=True).splitlines()
    assert head == "  ".join(HEADS)
    assert line.split() == ["8", "32.00", "1024.0", "11.0", "55.0", "2.5", "7.5", "0"]
    assert row(measured, is_first=False) == line
    assert len(line) == len(head)


def test_the_picture_has_a_point_for_each_load_and_curve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    measured = ask(monkeypatch, tmp_path, RESULT)
    loads = [measured, replace(measured, streams=64, first_token_p99_ms=400.0)]
    root = ElementTree.fromstring(picture(loads, "support <at> 8 & 64"))
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{space}circle")) == 2 * (2 + 2 + 1)
    words = [text.text for text in root.iter(f"{space}text")]
    assert "support <at> 8 & 64" in words
    assert words.count("64") == 3
    assert "400" in words  # the highest value is the scale's end
    bottom = max(float(circle.attrib["cy"]) for circle in root.findall(f"{space}circle"))
    assert bottom <= 260
