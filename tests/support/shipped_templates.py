"""Tokenizers for the chat templates that ship inside TRL: each knows the special tokens that its template writes."""

import re
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from train.chat_template import shipped

SPECIAL = re.compile(
    r"<[|｜][^<>\s'\"{}]+?[|｜]>"  # ChatML, Llama 3, Phi, Cohere, DeepSeek
    r"|<(?:start|end)_of_(?:turn|utterance)>|<\|?turn\|?>|</?think>|<sop>|\[gMASK\]"
)
WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""How Qwen's and Llama 3's tokenizers cut text into words: newlines stay together, whatever follows them."""
MERGED = ("\n\n", " a", "th", "e ")
"""A few pairs of characters that are one token, so that a cut at another place gives other tokens."""


def names() -> list[str]:
    """Return the names of all templates but the variants for training."""
    folder = shipped("qwen3").parent
    return sorted(path.stem for path in folder.glob("*.jinja") if not path.stem.endswith("_training"))


def make_tokenizer(template: str, words: str = WORDS) -> Any:
    """Return a tokenizer of bytes with a template, which ends at `<eos>` whatever the template ends its turns with."""
    alphabet = {symbol: number for number, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    symbols = [as_bytes.pre_tokenize_str(pair)[0][0] for pair in MERGED]
    pairs = [(pair[0], pair[1]) for pair in symbols]
    vocabulary = alphabet | {"".join(pair): len(alphabet) + number for number, pair in enumerate(pairs)}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    raw.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(words), "isolated"), as_bytes])
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens(["<bos>", "<eos>", "<pad>", *sorted(set(SPECIAL.findall(template)))])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>")
    tokenizer.chat_template = template
    return tokenizer


def save_tokenizer(folder: Path, name: str) -> Path:
    """Write a tokenizer with a template of TRL's into a folder."""
    make_tokenizer(shipped(name).read_text(encoding="utf-8")).save_pretrained(folder)
    return folder
