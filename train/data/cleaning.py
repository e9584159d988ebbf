"""Cleans prompts: removes markup and control characters, and repairs broken encodings; folds texts to compare them."""

import re
import sys
import unicodedata
from functools import cache
from html import unescape

import ftfy

from driftwheel.settings.data import Cleaning
from driftwheel.text.words import WORD

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
NOT_TEXT = ("Cf", "Cc")  # zero-width signs, marks of direction, soft hyphens, control characters
# Accents, and what writers of Hebrew and Arabic may leave out: points, hamza on its carrier, the stretching tatweel.
# The marks of other scripts make other words: the vowels of Hindi, the dakuten that tells ga from ka.
OPTIONAL_MARKS = re.compile(r"[\u0300-\u036f\u0591-\u05c7\u0640\u064b-\u0655\u0670]")
OPERATOR = re.compile(r"(?<=\d)\s*([-+*/^=<>\u00d7\u00f7%])\s*(?=\d)|(?<=\b[a-z])([+#]+)", re.IGNORECASE)


def clean_prompt(text: str, how: Cleaning = "strip") -> str:
    """Return a prompt as it was (`off`), with its encoding mended (`unicode`), or without HTML as well (`strip`).

    The served model is asked what users send: nothing of this is done to it there. Spaces are only gathered where
    markup was taken out: elsewhere they may be code.
    """
    if how == "off":
        return text
    if how == "unicode":
        return mended(text)
    text = SCRIPT.sub(" ", text)
    if not TAG.search(text):
        return mended(text).strip()
    lines = [SPACES.sub(" ", line).strip() for line in mended(unescape(TAG.sub(" ", text))).split("\n")]
    return "\n".join(lines).strip()


def clean_answer(text: str) -> str:
    """Return an answer without the empty lines before it and the space after it; nothing else of it is changed."""
    return text.lstrip("\r\n").rstrip()


def mended(text: str) -> str:
    """Return a text with its encoding mended and without control characters, in Unicode form NFC.

    Widths and ligatures stay: full-width punctuation is Chinese and Japanese.
    """
    text = ftfy.fix_text(
        text, unescape_html=False, uncurl_quotes=False, fix_character_width=False, fix_latin_ligatures=False
    )
    return CONTROL.sub("", unicodedata.normalize("NFC", text))


def normalized(text: str) -> str:
    """Return the form in which two prompts count as exactly the same: case, width and spacing do not matter."""
    return " ".join(text.translate(_widths()).casefold().split())


_INVISIBLE = {
    code: None for code in range(128) if unicodedata.category(chr(code)) in NOT_TEXT and not chr(code).isspace()
}
"""The signs of ASCII that nobody sees."""


def folded(text: str) -> str:
    """Return the words of a text without case, accents, punctuation, invisible and look-alike characters.

    Two texts with the same folded form are the same for a reader, whatever their bytes are. A character of a script
    without spaces is a word, and so is what is done to two numbers (`3 + 5`) or tells languages apart (`c`, `c++`).
    """
    marked = OPERATOR.sub(_named, text)
    if marked.isascii():  # most texts are: half of the time went into asking for the category of each letter
        latin = marked.translate(_INVISIBLE)
    else:
        decomposed = OPTIONAL_MARKS.sub("", unicodedata.normalize("NFKD", marked))
        seen = "".join(c for c in decomposed if unicodedata.category(c) not in NOT_TEXT or c.isspace())
        latin = seen.translate(_lookalikes())
    plain = latin.casefold().replace("'", "").replace("\u2019", "").replace("_", " ")
    return " ".join(WORD.findall(plain)) or normalized(text)


def _named(operator: re.Match[str]) -> str:
    """Return the signs of an operator as a word, which punctuation is not."""
    return (
        " " + " ".join(unicodedata.name(sign).replace(" ", "").replace("-", "") for sign in operator[0].strip()) + " "
    )


@cache
def _widths() -> dict[int, str]:
    """Return the ordinary character for each that is only wider or narrower; a raised 2 is another character."""
    found = {}
    for code in (0x3000, *range(0xFF01, 0xFFEF)):
        kind, *others = unicodedata.decomposition(chr(code)).split() or [""]
        if kind in ("<wide>", "<narrow>"):
            found[code] = chr(int(others[0], 16))
    return found


@cache
def _lookalikes() -> dict[int, str]:
    """Return the Latin letter for each Greek and Cyrillic one that looks like it (Unicode TR39); digits as 0 to 9."""
    from confusable_homoglyphs.confusables import confusables_data

    table = {}
    for letter, others in confusables_data.items():
        name = unicodedata.name(letter, "") if len(letter) == 1 else ""
        latin = [o["c"] for o in others if len(o["c"]) == 1 and o["c"].isascii() and o["c"].isalpha()]
        if name.startswith(("GREEK", "CYRILLIC")) and latin:
            table[ord(letter)] = latin[0]
    digits = {code: unicodedata.decimal(chr(code), None) for code in range(0x660, sys.maxunicode)}
    return table | {code: str(digit) for code, digit in digits.items() if digit is not None}
