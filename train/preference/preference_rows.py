"""Reads preferences from feedback: corrections as pairs, thumbs as good or bad answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from driftwheel.records.by_whom import Feedback, FeedbackKind, Trust
from driftwheel.records.nouns import Traffic
from driftwheel.settings.data import DatasetSettings
from driftwheel.store.ledger import Ledger
from driftwheel.store.tables import TABLES
from driftwheel.text.answers import right_label
from driftwheel.text.conversations import Message, said, text_of
from driftwheel.traffic.feedback import words_about
from driftwheel.traffic.feedback_summary import ANSWERING, counted
from driftwheel.traffic.outcome_query import is_answered
from train.data.examples import Example
from train.data.live.traffic_rows import UNKNOWN, asked_of
from train.data.live.unverified_rows import Admission, within_caps
from train.data.near_duplicates.duplicates import NearDuplicates
from train.data.splitting.clean_rows import cleaned
from train.data.splitting.shared_frame import Compared
from train.data.splitting.tally import Tally


@dataclass(frozen=True)
class AnswerFeedback:
    """What a person thought of one answer."""

    id: str
    """The request."""
    prompt: list[Message]
    answer: str
    """What the model said."""
    correction: str | None
    """What it should have said."""
    thumb: int | None
    """1 up, -1 down."""
    group: str
    author: str | None = None
    """Whose word it is, where that is nobody who is trusted."""

    @property
    def example(self) -> Example:
        """The row that supervised training learns from it: the correction, or the answer itself."""
        answer, requests = _said(self.correction or self.answer), [self.id]
        return Example(
            self.id,
            self.prompt,
            answer,
            None,
            self.group,
            source="correction",
            slice="new",
            author=self.author,
            requests=requests,
        )

    def claim(self, objective: str, label_field: str | None) -> Example:
        """Return the row whose answer is what the objective makes likelier, or with a thumb down less likely."""
        answer = str(self.correction) if objective == "dpo" else self.answer
        return replace(self.example, completion=_said(answer), label=right_label(answer, label_field))

    def as_pair(self) -> dict[str, object]:
        """Return DPO's row."""
        chosen, rejected = str(self.correction), self.answer
        return {"prompt": self.prompt, "chosen": _said(chosen), "rejected": _said(rejected)}

    def as_judged(self) -> dict[str, object]:
        """Return KTO's row."""
        return {"prompt": self.prompt, "completion": _said(self.answer), "label": self.thumb == 1}


def _said(text: str) -> list[Message]:
    return [said("assistant", text)]


def preferences(
    settings: DatasetSettings,
    ledger: Ledger,
    project: str,
    alias: str,
    test_texts: Sequence[str],
    tally: Tally | None = None,
    *,
    objective: str,
    proven: Sequence[Example] = (),
) -> list[AnswerFeedback]:
    """Return corrections for `dpo`, or thumbs for `kto`, oldest first; none whose prompt is like a test item.

    A correction that says what the model said is no preference. A key without trust counts at most
    `dataset.max_rows_per_key` times, all of them together at most `dataset.max_unverified_rows` times, and only where
    the rows of `proven` say the same; without any there is nothing to compare with, and the caps alone hold. The tally
    counts the requests that cannot be learned, by reason.
    """
    tally = tally or Tally()
    columns = TABLES[Traffic].c
    traffic = ledger.find(
        Traffic,
        is_answered(),
        sa.or_(columns.label_source == "correction", columns.thumb.is_not(None)),
        project=project,
        alias=alias,
        newest_first=False,
    )
    words = words_about(ledger, [request.id for request in traffic])
    read = []
    for request in traffic:
        preference = _preference(settings, request, tally)
        if preference is None:
            continue
        preference = _of_whom(preference, words.get(request.id, []), objective)
        if (preference.correction if objective == "dpo" else preference.thumb) is not None:
            read.append(preference)
    # All at once: an index that is asked text by text takes seven milliseconds for each.
    compared = Compared(tally.shared)
    quarantine = NearDuplicates(compared.texts(test_texts), settings.near_duplicate_similarity)
    like = {match.asked for match in quarantine.strictest(compared.texts([p.example.conversation for p in read]))}
    if like:
        tally.dropped["feedback on a question like a test item"] += len(like)
    return _admitted(settings, [p for n, p in enumerate(read) if n not in like], proven, objective, tally)


def _admitted(
    settings: DatasetSettings,
    read: Sequence[AnswerFeedback],
    proven: Sequence[Example],
    objective: str,
    tally: Tally,
) -> list[AnswerFeedback]:
    """Return the preferences that may be learned: every trusted one, and of the others what Admission lets in.

    A preference moves the weights as a row does: a planted word that no row may teach must not come in as a pair.
    """
    claims = {p.id: p.claim(objective, settings.label_field) for p in read}
    unverified = [claims[p.id] for p in read if p.author is not None]
    denied = {p.id for p in read if objective == "kto" and p.thumb == -1}
    if proven:
        trusted = [claims[p.id] for p in read if p.author is None and p.id not in denied]
        admission = Admission(settings, [*proven, *trusted], unverified, tally)
        admitted = {row.id for row in admission.admit(unverified, denied)}
    else:
        admitted = {row.id for row in within_caps(settings, unverified, tally)}
    return [p for p in read if p.author is None or p.id in admitted]


def _of_whom(preference: AnswerFeedback, given: Sequence[Feedback], objective: str) -> AnswerFeedback:
    """Return a preference with whose word it is, or None if that author is trusted.

    What the objective does not learn stays beside it only where its author is trusted, or the same: a thumb of anybody
    takes no trust from a correction, nor the other way round.
    """
    correcting, rating = _untrusted_author(given, *ANSWERING), _untrusted_author(given, FeedbackKind.THUMB)
    if objective == "dpo":
        thumb = preference.thumb if rating in (None, correcting) else None
        return replace(preference, thumb=thumb, author=correcting)
    correction = preference.correction if correcting in (None, rating) else None
    return replace(preference, correction=correction, author=rating)


def _untrusted_author(given: Sequence[Feedback], *kinds: FeedbackKind) -> str | None:
    """Return whose word of the kinds counts, or None if that author is trusted."""
    words = counted(given, *kinds)
    if not words:
        return UNKNOWN
    return None if words[0].trust is Trust.TRUSTED else words[0].author


def _preference(settings: DatasetSettings, request: Traffic, tally: Tally) -> AnswerFeedback | None:
    """Return what was thought of an answer, its texts treated as those of rows to learn are."""
    asked = asked_of(request, tally)
    if asked is None:
        return None
    if asked.tools or any("tool_calls" in message for message in asked.messages):
        tally.dropped["requests with tools, which are learned from corrections alone"] += 1
        return None
    prompt = cleaned(settings, asked.messages, tally)
    right = request.label if request.label_source == "correction" else None
    answer, correction = (text_of(cleaned(settings, _said(text or ""), tally)[0]) for text in (request.answer, right))
    if not answer or not all(text_of(message).strip() for message in prompt):
        tally.dropped["feedback on a question or an answer that is empty after cleaning"] += 1
        return None
    return AnswerFeedback(
        id=request.id,
        prompt=prompt,
        answer=answer,
        correction=correction if correction.strip() not in ("", answer.strip()) else None,
        thumb=request.thumb,
        group=request.conversation_id or request.user_id or request.id,
    )
