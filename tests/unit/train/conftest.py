"""A random Qwen3 small enough to train in a second, and a dataset of greetings for it."""

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from driftwheel.records.nouns import Dataset
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger

TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


class JsonServer(ThreadingHTTPServer):
    """Answers POST requests on a free port by a function of path, headers and JSON body."""

    request_queue_size = 64
    daemon_threads = True
    block_on_close = False

    def __init__(self, reply: Callable[[str, Any, Any], tuple[int, Any]]) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status, value = reply(self.path, self.headers, body)
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def serve_json() -> Iterator[Callable[[Callable[[str, Any, Any], tuple[int, Any]]], str]]:
    """Start an HTTP server whose answers a function gives, as status and JSON; its URL."""
    with contextlib.ExitStack() as running:

        def start(reply: Callable[[str, Any, Any], tuple[int, Any]]) -> str:
            server = running.enter_context(JsonServer(reply))
            thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
            thread.start()
            running.callback(thread.join)
            running.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_address[1]}"

        yield start


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a Qwen3 with 2 layers of width 64 and a byte tokenizer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        ["user assistant"], trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = TEMPLATE
    torch.set_num_threads(1)  # two threads on a busy machine wait for each other longer than such steps take
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # or a training would take as many as were measured to be fastest
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=320,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=256,
            tie_word_embeddings=False,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
        )
    )
    folder = tmp_path_factory.mktemp("base")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def train_settings(settings: Settings, tiny_base: Path) -> Settings:
    """Settings that train the tiny base for six steps, validating and saving each second one."""
    train: dict[str, Any] = {
        "max_steps": 6,
        "eval_steps": 2,
        "logging_steps": 1,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "lora_r": 8,
        "lora_alpha": 8,
        "max_length": 64,
    }
    return settings.model_copy(
        update={
            "model": settings.model.model_copy(update={"base": str(tiny_base)}),
            "train": settings.train.model_copy(update=train),
        }
    )


@pytest.fixture
def dataset(train_settings: Settings, ledger: Ledger) -> Dataset:
    """A Dataset of 24 training rows and 6 validation rows, recorded in the ledger."""
    folder = train_settings.root / "datasets" / "dataset_tiny"
    folder.mkdir(parents=True)
    for split, count in (("train", 24), ("validation", 6), ("test", 6)):
        rows = [_row(f"{split}{n}", n) for n in range(count)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    record = Dataset(
        id="dataset_tiny",
        project="support",
        content_hash="0" * 64,
        path=str(folder),
        origin="files",
        train_rows=24,
        validation_rows=6,
        test_rows=6,
    )
    ledger.add(record)
    return record


def _row(name: str, number: int) -> dict[str, Any]:
    label = ("morning", "evening")[number % 2]
    return {
        "id": name,
        "prompt": [{"role": "user", "content": f"good {label} {name}"}],
        "completion": [{"role": "assistant", "content": json.dumps({"intent": label})}],
        "label": label,
        "group": name,
    }
