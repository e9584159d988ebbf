"""An engine that fails or slows down is told from one that does neither."""

from monitor.engine_state import judge_engine
from monitor.observation import Observation


def test_failures_and_slowness_are_the_engines() -> None:
    fast = [Observation(id="1", prompt="", answer="", label=None, latency_seconds=0.1)] * 20
    slow = [Observation(id="1", prompt="", answer="", label=None, latency_seconds=0.5)] * 20
    failed = [Observation(id="1", prompt="", answer="", label=None, is_failed=True)] * 5
    assert judge_engine(fast, fast).score < 1
    assert judge_engine(slow, fast).score > 1
    assert judge_engine([*fast, *failed], fast).score > 1
