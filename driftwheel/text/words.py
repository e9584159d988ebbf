"""Splits a text into words, in every script: where a script puts no spaces between words, each character is one.

To take a Chinese or Japanese sentence for one word would call two questions the same that differ in one character of
eight, and would call their ROUGE 0 or 1 and nothing between. sacrebleu's `zh` tokenizer parts them in the same way.
"""

import regex

UNSPACED = (
    r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Yi}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
    "\u3005\u3006\u3007\u30fc"  # Japanese signs of repetition, closing, zero and length belong to no single script
)
# A mark (a vowel of Hindi or Thai, a dakuten) belongs to the letter before it; the `\w` of Python's own re has none.
WORD = regex.compile(rf"[{UNSPACED}]\p{{M}}*|[[\w\p{{M}}\p{{N}}]--[{UNSPACED}]]+", regex.V1)
CHARACTER = regex.compile(rf"[{UNSPACED}]", regex.V1)
TERM_CHARACTERS = 8
"""Labels in Chinese and Japanese have two to six characters, and sentences seldom so few."""


def words(text: str) -> list[str]:
    """Return a text's words in lower case, of any script."""
    return [str(word) for word in WORD.findall(text.lower())]


def is_unspaced(word: str) -> bool:
    """Ask whether a word is a character of a script that puts no spaces between words."""
    return not word.isascii() and CHARACTER.match(word) is not None


def is_one_term(text: str) -> bool:
    """Ask whether a text is one word, or what is likely to be one where a script puts no spaces between words."""
    found = words(text)
    if len(found) <= 1:
        return True
    is_short = len(found) <= TERM_CHARACTERS and all(is_unspaced(word) for word in found)
    # A sign or a space between them makes a sentence of them.
    return is_short and "".join(found) == text.strip().lower()


def unspaced_characters(text: str) -> int:
    """Count the characters of scripts that put no spaces between words."""
    return 0 if text.isascii() else len(CHARACTER.findall(text))
