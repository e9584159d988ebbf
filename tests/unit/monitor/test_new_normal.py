"""What a person accepts as the new normal rings no more, and what comes after it does; quality is judged as before."""

from datetime import timedelta

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from scipy.stats import binom

from dashboard import moves, queries
from dashboard.drift_tables import can_be_accepted
from dashboard.standing import lamp
from driftwheel.cli.main import main
from driftwheel.errors import ConflictError, NotFoundError
from driftwheel.identity import utc_now
from driftwheel.records.by_whom import Action, Cause
from driftwheel.records.nouns import DriftKind, RetrainDecision, Traffic
from driftwheel.settings.settings import Settings
from driftwheel.store.events import events_of
from driftwheel.store.ledger import Ledger
from driftwheel.traffic.new_normal import accept, new_normal_of, take_back
from driftwheel.traffic.retention import prune
from examples.support.world import Example, messages
from monitor.background import LearnedText, background_of
from monitor.check import conclude
from monitor.exporter import CheckCounter, LedgerCollector
from monitor.features import FEATURES
from monitor.known_rows import rows_of, standard_of, window_of
from monitor.look import next_look
from monitor.observation import Observation
from monitor.pools import pools_of
from monitor.scan import scan
from monitor.signals import judge_drift
from tests.unit.monitor.test_check import WINDOW_ROWS, send, verdicts, watched

__all__ = ["watched"]  # the fixture of a small version that is watched
ANN = Cause(actor="person:ann", reason="the new hub is out")


def look_at_all(settings: Settings, ledger: Ledger) -> None:
    """Check every full window, and draw no report."""
    while (look := next_look(settings, ledger)) is not None:
        conclude(settings, ledger, look, judge_drift(look, FEATURES), {})


def metric(settings: Settings, ledger: Ledger, kind: str) -> str:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(LedgerCollector(settings.serve, ledger, settings.project, CheckCounter()))
    wanted = f'driftwheel_drift_detected{{kind="{kind}"}} '
    return next(
        line.removeprefix(wanted) for line in generate_latest(registry).decode().splitlines() if line.startswith(wanted)
    )


def alarms(ledger: Ledger, kind: DriftKind) -> int:
    return sum(event.after["kind"] == kind for event in events_of(ledger, "support", actions=[Action.ALARM]))


def in_capitals(ledger: Ledger, first: int) -> None:
    """Log two windows of prompts of which a client shouts every one."""
    send(ledger, 2 * WINDOW_ROWS, 4, "shifted", first, is_labelled=False)
    for row in ledger.find(Traffic, check_id=None, project="support"):
        ledger.change(row, prompt=f"TICKET ESCALATED BY PHONE DESK {row.prompt.upper()}")


def test_the_lamp_goes_out_and_the_next_drift_is_found(watched: Settings, ledger: Ledger) -> None:
    send(ledger, WINDOW_ROWS, 2, "steady", 0, is_labelled=False)
    send(ledger, 2 * WINDOW_ROWS, 3, "shifted", WINDOW_ROWS, is_labelled=False)
    look_at_all(watched, ledger)
    assert verdicts(ledger, DriftKind.INPUT) == ["steady", "suspected", "drifted"]
    shown = queries.latest_check(ledger, "support")
    assert (lamp(shown), metric(watched, ledger, "input")) == ("red", "1.0")
    assert can_be_accepted(shown, shown[0].check_id)

    accepted = moves.accept_normal(watched.monitor, ledger, watched.alias_key, seen=shown[0].check_id, by=ANN)
    assert (len(accepted.check_ids), accepted.number) == (
        2,
        3,
    )  # the two windows that were over, and not the steady one
    shown = queries.latest_check(ledger, "support")
    assert (lamp(shown), metric(watched, ledger, "input")) == ("green", "0.0")
    assert not can_be_accepted(shown, shown[0].check_id)
    (event,) = events_of(ledger, "support", actions=[Action.ACCEPT_NORMAL])
    assert (event.actor, event.reason, event.after["check_ids"]) == (ANN.actor, ANN.reason, accepted.check_ids)

    send(ledger, 3 * WINDOW_ROWS, 5, "shifted", 3 * WINDOW_ROWS, is_labelled=False)
    look = next_look(watched, ledger)
    assert look is not None
    assert not look.earlier, "windows before the acceptance are pooled with those after it"
    assert {row.id for row in look.reference.input} == {f"req_{n:06d}" for n in range(100, 300)}
    look_at_all(watched, ledger)
    assert verdicts(ledger, DriftKind.INPUT)[3:] == ["steady"] * 3
    assert verdicts(ledger, DriftKind.OUTPUT)[3:] == ["steady"] * 3

    in_capitals(ledger, 6 * WINDOW_ROWS)
    look_at_all(watched, ledger)
    assert verdicts(ledger, DriftKind.INPUT)[6:] == ["suspected", "drifted"]
    assert alarms(ledger, DriftKind.INPUT) == 2


def test_lost_quality_is_told_whatever_is_accepted(watched: Settings, ledger: Ledger) -> None:
    """The answers to what is new are wrong: that people ask it for good makes none of them right."""
    send(ledger, 2 * WINDOW_ROWS, 3, "shifted", 0)
    look_at_all(watched, ledger)
    accept(watched.monitor, ledger, watched.alias_key, by=ANN)
    assert (metric(watched, ledger, "input"), metric(watched, ledger, "quality")) == ("0.0", "1.0")
    assert lamp(queries.latest_check(ledger, "support")) == "red"
    send(ledger, WINDOW_ROWS, 5, "shifted", 2 * WINDOW_ROWS)
    look_at_all(watched, ledger)
    assert verdicts(ledger, DriftKind.INPUT)[-1] == "steady"
    assert verdicts(ledger, DriftKind.QUALITY)[-1] == "drifted"
    assert ledger.newest(RetrainDecision, "support").remedy != "none"


def test_an_alarm_after_an_accepted_one_is_a_new_one(watched: Settings, ledger: Ledger) -> None:
    """With a persistence of one window the verdict before it is `drifted`, and nobody was told of the second."""
    settings = watched.model_copy(update={"monitor": watched.monitor.model_copy(update={"persistence": 1})})
    send(ledger, WINDOW_ROWS, 3, "shifted", 0, is_labelled=False)
    look_at_all(settings, ledger)
    assert alarms(ledger, DriftKind.INPUT) == 1
    accept(settings.monitor, ledger, settings.alias_key)
    in_capitals(ledger, WINDOW_ROWS)
    look_at_all(settings, ledger)
    assert alarms(ledger, DriftKind.INPUT) == 2


def test_nothing_is_accepted_that_was_not_seen(watched: Settings, ledger: Ledger) -> None:
    with pytest.raises(NotFoundError, match="no window of version_1 was checked yet"):
        accept(watched.monitor, ledger, watched.alias_key)
    with pytest.raises(NotFoundError, match="nothing was accepted"):
        take_back(ledger, watched.alias_key)
    send(ledger, WINDOW_ROWS, 3, "shifted", 0, is_labelled=False)
    look_at_all(watched, ledger)
    with pytest.raises(ConflictError, match="Nothing was changed"):
        moves.accept_normal(watched.monitor, ledger, watched.alias_key, seen="check_of_yesterday")
    assert new_normal_of(ledger, "support", "version_1") is None


def test_the_verb_accepts_and_takes_back(watched: Settings, ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    send(ledger, WINDOW_ROWS, 3, "shifted", 0, is_labelled=False)
    look_at_all(watched, ledger)
    flags = ["--config", str(watched.path), "--set", f"monitor.window_rows={WINDOW_ROWS}"]
    assert main(["accept", *flags, "--windows", "1", "--reason", "the hub is out"]) == 0
    assert "check_ids" in capsys.readouterr().out
    assert new_normal_of(ledger, "support", "version_1") is not None
    assert main(["accept", *flags, "--take-back"]) == 0
    assert new_normal_of(ledger, "support", "version_1") is None
    taken, given = events_of(ledger, "support", actions=[Action.ACCEPT_NORMAL, Action.TAKE_BACK_NORMAL])
    assert (given.reason, taken.action) == ("the hub is out", Action.TAKE_BACK_NORMAL)
    assert main(["accept", *flags, "--take-back"]) != 0


def test_retention_spares_what_is_compared_with(watched: Settings, ledger: Ledger) -> None:
    send(ledger, 3 * WINDOW_ROWS, 3, "shifted", 0, is_labelled=False)
    look_at_all(watched, ledger)
    accept(watched.monitor, ledger, watched.alias_key, windows=1)
    short = watched.model_copy(update={"traffic": watched.traffic.model_copy(update={"keep_days": 1.0})})
    prune(short, ledger, utc_now() + timedelta(days=30))
    left = {row.id for row in ledger.find(Traffic, project="support")}
    assert {f"req_{n:06d}" for n in range(2 * WINDOW_ROWS, 3 * WINDOW_ROWS)} <= left
    assert f"req_{WINDOW_ROWS:06d}" not in left


@pytest.mark.parametrize("again", [0.0, 0.6], ids=["independent", "in bursts"])
def test_windows_after_it_are_over_at_the_declared_rate(again: float) -> None:
    """The words of a new topic are in no training text: counted as never said before, they rang in most windows."""
    background = background_of([LearnedText(e.text, e.intent, e.intent) for e in messages(300, 77, "steady")])
    random, pool, level, windows = np.random.default_rng(1), messages(1500, 12, "shifted"), 0.02, 24
    over = 0
    for _ in range(windows):
        reference, current = (rows_of(drawn(random, pool, 100, again)) for _ in range(2))
        standard = standard_of(reference, background, is_accepted=True)
        assert standard is not None
        pools = pools_of([window_of(current, standard)])
        over += scan(DriftKind.INPUT, standard.reference, pools, standard.learned, level=level).is_over
    assert over <= binom.ppf(0.999, windows, level)


def drawn(random: np.random.Generator, pool: list[Example], count: int, again: float) -> list[Observation]:
    """Return rows of which each has the intent of the one before with this probability."""
    rows: list[Observation] = []
    while len(rows) < count:
        example = pool[int(random.integers(len(pool)))]
        if rows and example.intent != rows[-1].label and random.random() < again:
            continue
        rows.append(Observation(id=str(len(rows)), prompt=example.text, answer="", label=example.intent, at=utc_now()))
    return rows
