"""Cleans a text: removes markup and control characters, and repairs broken encodings."""

import re
import unicodedata
from functools import cache
from html import unescape

import ftfy

# Only HTML's own names with name=value attributes count, so that `a <b and c> d` and `<order id>` stay.
TAG = re.compile(
    r"</?(?:a|abbr|article|b|blockquote|body|br|button|code|div|em|font|footer|form|h[1-6]|head|header|hr|html|i|img|"
    r"input|label|li|link|main|meta|nav|ol|p|pre|s|section|small|span|strong|sub|sup|table|tbody|td|th|thead|title|tr|"
    r"u|ul)(?:\s+[\w:-]+\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'<>]+))*\s*/?>",
    re.IGNORECASE,
)
SCRIPT = re.compile(r"<(script|style)\b[^>]*>.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u2028\u2029\ufeff]")
SPACES = re.compile(r"[ \t\u00a0]+")
WORD = re.compile(r"[^\W_]+")
NOT_TEXT = ("Cf", "Cc")  # zero-width signs, marks of direction, soft hyphens, control characters
LATIN_MARKS = re.compile(r"[\u0300-\u036f]")  # accents; the marks of other scripts make other words


def clean_prompt(text: str) -> str:
    """Return a prompt without HTML and control characters, in Unicode form NFC.

    Spaces are only gathered where markup was taken out: elsewhere they may be code.
    """
    text = SCRIPT.sub(" ", text)
    if not TAG.search(text):
        return clean_answer(text)
    lines = [SPACES.sub(" ", line).strip() for line in clean_answer(unescape(TAG.sub(" ", text))).split("\n")]
    return "\n".join(lines).strip()


def clean_answer(text: str) -> str:
    """Return an answer with its encoding mended and control characters removed; its markup is the task's own."""
    text = ftfy.fix_text(text, unescape_html=False, uncurl_quotes=False)
    return CONTROL.sub("", unicodedata.normalize("NFC", text)).strip()


def normalized(text: str) -> str:
    """Return the form in which two prompts count as exactly the same: case, width and spacing do not matter."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def folded(text: str) -> str:
    """Return the words of a text without case, accents, punctuation, invisible and look-alike characters.

    Two texts with the same folded form are the same for a reader, whatever their bytes are.
    """
    decomposed = LATIN_MARKS.sub("", unicodedata.normalize("NFKD", text))
    seen = "".join(c for c in decomposed if unicodedata.category(c) not in NOT_TEXT or c.isspace())
    plain = seen.translate(_lookalikes()).casefold().replace("'", "").replace("\u2019", "")
    return " ".join(WORD.findall(plain)) or normalized(text)


@cache
def _lookalikes() -> dict[int, str]:
    """Return the Latin letter for each Greek and Cyrillic letter that looks like it (Unicode TR39's confusables)."""
    from confusable_homoglyphs.confusables import confusables_data

    table = {}
    for letter, others in confusables_data.items():
        name = unicodedata.name(letter, "") if len(letter) == 1 else ""
        latin = [o["c"] for o in others if len(o["c"]) == 1 and o["c"].isascii() and o["c"].isalpha()]
        if name.startswith(("GREEK", "CYRILLIC")) and latin:
            table[ord(letter)] = latin[0]
    return table
