"""What is live is said with what it scored, and how sure that is."""

from driftwheel.config import Settings
from driftwheel.ledger import Ledger
from driftwheel.records import Alias, ModelVersion
from driftwheel.status import as_text, gather


def test_the_live_versions_accuracy_stands_with_its_interval(settings: Settings, ledger: Ledger) -> None:
    version = ModelVersion(
        id="version_1", project="support", number=1, run_id="r", dataset_id="d", base_model="b", path="p",
        manifest_hash="h", quantization="none",
        scorecard={"accuracy": 0.9257, "intervals": {"accuracy": [0.9039, 0.9429]}},
    )  # fmt: skip
    ledger.add(version, Alias(id="support", project="support", version_id=version.id, fence=1))
    assert "accuracy       92.6% [90.4%, 94.3%] when it was judged" in as_text(gather(ledger, settings))
