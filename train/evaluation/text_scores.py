"""ROUGE, BLEU, chrF and word F1 of texts."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

ROUGE = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}


@dataclass(frozen=True, kw_only=True)
class TextScores:
    """How like the expected texts the answers are; None without items."""

    rouge_1: float | None = None
    rouge_2: float | None = None
    rouge_l: float | None = None
    bleu: float | None = None
    chrf: float | None = None
    token_f1: float | None = None


def text_scores(expected: Sequence[str], answers: Sequence[str]) -> TextScores:
    """Return each measure.

    ROUGE-1, -2 and -L are mean F-measures from 0 to 1 (Lin 2004) over words of any script. BLEU (Papineni et al.
    2002) and chrF (Popovic 2015) are of the whole corpus, from 0 to 100, as sacrebleu computes them.
    """
    if not expected:
        return TextScores()
    import sacrebleu
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(ROUGE.values()), tokenizer=_Words())
    rouge = [scorer.score(right, given) for right, given in zip(expected, answers, strict=True)]
    return TextScores(
        **{name: fmean(entry[key].fmeasure for entry in rouge) for name, key in ROUGE.items()},
        bleu=float(sacrebleu.corpus_bleu(answers, [expected]).score),
        chrf=float(sacrebleu.corpus_chrf(answers, [expected]).score),
        token_f1=fmean(token_f1(right, given) for right, given in zip(expected, answers, strict=True)),
    )


def token_f1(expected: str, answer: str) -> float:
    """Return the F1 of two texts as bags of words (Rajpurkar et al. 2016), 0 to 1; two empty texts agree."""
    right, given = Counter(words(expected)), Counter(words(answer))
    if not right or not given:
        return float(right == given)
    return 2 * (right & given).total() / (right.total() + given.total())


def words(text: str) -> list[str]:
    """Return a text's words in lower case, of any script."""
    return re.findall(r"\w+", text.lower())


class _Words:
    """rouge_score's own tokenizer drops every letter outside a to z."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)
