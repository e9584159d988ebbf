"""A diagnosis says in sentences what changed, with shares and examples, and what would help."""

from dataclasses import replace

from driftwheel.records.diagnosis import Diagnosis, Remedy
from driftwheel.records.nouns import DriftKind
from examples.support.world import messages
from monitor.background import LearnedText, background_of
from monitor.calibration import level_per_decision
from monitor.diagnosing import FREQUENT, Case, diagnose
from monitor.observation import Observation
from monitor.pools import pools_of, tallied
from monitor.row_signals import signalled
from monitor.scan import scan

LEVEL = level_per_decision(1.0, 24) / 2
BACKGROUND = background_of([LearnedText(e.text, e.intent, e.intent) for e in messages(1000, 31, "steady")])


def observed(rows: int, seed: int) -> list[Observation]:
    return [
        Observation(id=f"{seed}-{n}", prompt=e.text, answer=e.intent, label=e.intent, author=f"key{n % 9}")
        for n, e in enumerate(messages(rows, seed, "steady"))
    ]


REFERENCE = signalled(observed(500, 32), BACKGROUND)
STANDARD = tallied(REFERENCE, is_in_time=False)


def diagnosis(kind: DriftKind, *windows: list[Observation], is_input_steady: bool = False) -> Diagnosis:
    counted = [tallied(signalled(rows, BACKGROUND, REFERENCE)) for rows in windows]
    found = scan(kind, STANDARD, pools_of(counted), BACKGROUND, level=LEVEL)
    case = Case(scan=found, windows=counted, reference=STANDARD, raw=windows[-1], is_input_steady=is_input_steady)
    return diagnose(case)


def test_a_new_topic_is_named_with_its_share_its_words_and_examples() -> None:
    rows = observed(200, 40)
    new = [f"My drone {n} lost a propeller during the flight" for n in range(20)]
    rows = [replace(row, prompt=new[n // 10]) if n % 10 == 0 else row for n, row in enumerate(rows)]
    found = diagnosis(DriftKind.INPUT, rows)
    cluster = found.clusters[0]
    assert (cluster.rows, cluster.share, cluster.before, cluster.authors) == (20, 0.1, 0.0, 9)
    assert {"drone", "propeller"} <= set(cluster.words)
    assert len(cluster.examples) == 3
    assert all(example in new for example in cluster.examples)
    assert cluster.request_ids[0] == rows[0].id
    first = found.findings[0]
    assert first.sentence.startswith("10% of the prompts (20 of 200) have ")
    assert "0.0% before; such as “My drone 0 lost a propeller" in first.sentence
    assert first.remedy is Remedy.LABEL
    assert all(word.before < FREQUENT < word.now for word in found.words if word.word == "drone")


def test_words_that_many_texts_of_the_reference_have_are_left_out() -> None:
    rows = [replace(row, prompt=f"bitte {row.prompt} my my order") for row in observed(200, 41)]
    words = {shift.word for shift in diagnosis(DriftKind.INPUT, rows).words}
    assert "bitte" in words
    assert "my" not in words


def test_a_template_before_all_prompts_is_no_topic() -> None:
    rows = [replace(row, prompt=f"Nachricht vom Kunden: {row.prompt}") for row in observed(200, 42)]
    assert Remedy.PROMPT in {finding.remedy for finding in diagnosis(DriftKind.INPUT, rows).findings}


def test_one_caller_and_one_text_are_called_so() -> None:
    rows = observed(200, 43)
    caller = [
        replace(row, prompt=f"check {n} of uptime probe", author="robot") if n % 2 else row
        for n, row in enumerate(rows)
    ]
    found = diagnosis(DriftKind.INPUT, observed(200, 44), caller)
    assert found.bot is not None
    assert (found.bot.kind, found.bot.name, found.bot.rows) == ("caller", "robot", 100)
    assert found.findings[0].remedy is Remedy.BLOCK
    text = [replace(row, prompt="uptime probe") if n % 2 else row for n, row in enumerate(rows)]
    bot = diagnosis(DriftKind.INPUT, text).bot
    assert bot is not None
    assert (bot.kind, bot.name, bot.share) == ("text", "uptime probe", 0.5)
    assert diagnosis(DriftKind.INPUT, observed(200, 45)) == Diagnosis(windows=1)


def test_a_label_that_grew_is_named_and_the_engine_is_suspected_where_prompts_are_steady() -> None:
    rows = [
        replace(row, answer="refund_request", label="refund_request") if n % 4 == 0 else row
        for n, row in enumerate(observed(200, 46))
    ]
    found = diagnosis(DriftKind.OUTPUT, rows, is_input_steady=True)
    (grown,) = [change for change in found.changes if change.name == "label refund_request"]
    assert grown.now > 0.25 > grown.before
    assert any(f.sentence.startswith("Label refund_request: ") and f.remedy is Remedy.ENGINE for f in found.findings)
    assert {f.remedy for f in diagnosis(DriftKind.OUTPUT, rows).findings} == {Remedy.LABEL}
