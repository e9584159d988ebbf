"""ROUGE, BLEU, chrF and word F1 of texts in any language, against one or several right answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import regex

from driftwheel.text.grades import Words, token_f1
from driftwheel.text.words import unspaced_characters

ROUGE = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}
UNSPACED_SHARE = 0.3
"""Of the letters of the right answers: then words are characters for BLEU too. Chinese mixed with names has half."""
KANA_OR_THAI = regex.compile(r"[\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")


@dataclass(frozen=True, kw_only=True)
class TextScores:
    """How like the expected texts the answers are; None without items."""

    rouge_1: float | None = None
    rouge_2: float | None = None
    rouge_l: float | None = None
    bleu: float | None = None
    chrf: float | None = None
    token_f1: float | None = None


def text_scores(right: Sequence[Sequence[str]], answers: Sequence[str]) -> TextScores:
    """Return each measure of answers, each against its right answers.

    ROUGE-1, -2 and -L are mean F-measures from 0 to 1 against the right answer that is most like (Lin 2004, section
    2.1), over words of any script. BLEU (Papineni et al. 2002), which counts what any right answer has, and chrF
    (Popovic 2015), against the best, are of the whole corpus, from 0 to 100, as sacrebleu computes them. Where the
    right answers are written without spaces, a character is a word.
    """
    if not right:
        return TextScores()
    import sacrebleu
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(ROUGE.values()), tokenizer=Words())
    rouge = [scorer.score_multi(texts, given) for texts, given in zip(right, answers, strict=True)]
    # A stream holds one right answer of each item; sacrebleu passes over None where an item has fewer.
    streams = [list(stream) for stream in zip(*_level(right), strict=True)]
    return TextScores(
        **{name: fmean(entry[key].fmeasure for entry in rouge) for name, key in ROUGE.items()},
        bleu=float(sacrebleu.corpus_bleu(answers, streams, tokenize=tokenizer_for(right)).score),
        chrf=float(sacrebleu.corpus_chrf(answers, streams).score),
        token_f1=fmean(
            max(token_f1(text, given) for text in texts) for texts, given in zip(right, answers, strict=True)
        ),
    )


def tokenizer_for(right: Sequence[Sequence[str]]) -> str:
    """Return sacrebleu's tokenizer for the language: `13a`, `zh` for Chinese, `char` for others without spaces."""
    text = " ".join(answer for answers in right for answer in answers)
    letters = sum(map(str.isalpha, text))
    if unspaced_characters(text) < UNSPACED_SHARE * max(letters, 1):
        return "13a"
    return "char" if KANA_OR_THAI.search(text) else "zh"


def _level(right: Sequence[Sequence[str]]) -> list[list[str | None]]:
    most = max(map(len, right))
    return [[*answers, *[None] * (most - len(answers))] for answers in right]
