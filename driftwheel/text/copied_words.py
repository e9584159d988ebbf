"""Facts of an answer: words that training answers take from their prompts, such as names, and numbers.

Which words these are is found by alignment of prompts with their right answers, word by word, and so in any language,
for data-to-text and for answers from a given context. A fact that the prompt does not have was made up.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Set

SAID_IF_ASKED = 0.9
"""A word is a fact if so many of the training answers that have it have it from their prompt."""


def facts_of(learned: Iterable[tuple[Set[str], Set[str]]]) -> frozenset[str]:
    """Return the words that answers have from their prompts; each pair is a prompt's words and its answer's."""
    said, copied = Counter[str](), Counter[str]()
    for prompt, answer in learned:
        said.update(answer)
        copied.update(answer & prompt)
    return frozenset(word for word, count in copied.items() if count >= SAID_IF_ASKED * said[word])


def stated(facts: Set[str], answer: Collection[str]) -> set[str]:
    """Return the facts among an answer's words; a number is one, whatever was learned."""
    return {word for word in answer if word in facts or word.isdecimal()}
