"""`driftwheel promote` says what is served, and not what will be."""

import json
import threading
import time
from pathlib import Path

import pytest

from driftwheel.cli.main import main
from driftwheel.control import controls
from driftwheel.control.gateway_reports import has_gateway
from driftwheel.settings.settings import Settings
from driftwheel.store.alias import find_alias, observe_alias, send_heartbeat
from driftwheel.store.ledger import Ledger
from tests.support.versions import add_with_parents, published_version


@pytest.fixture
def published(ledger: Ledger) -> Ledger:
    version = published_version("version_1", quantization="w8a8")
    add_with_parents(ledger, version)
    return ledger


def play_gateway(settings: Settings, ledger: Ledger) -> None:
    """Do as a gateway that waits for its first version: say at once that it is there, and much later that it serves."""
    while (alias := find_alias(ledger, *settings.alias_key)) is None:
        time.sleep(0.05)
    assert send_heartbeat(ledger, alias, "here:8000/1")
    time.sleep(1)
    with ledger.write() as connection:
        observe_alias(connection, *settings.alias_key, version_id=alias.version_id, fence=alias.fence)


def test_the_first_promotion_waits_for_the_first_engine(
    published: Ledger, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = threading.Thread(target=play_gateway, args=(settings, published))
    gateway.start()
    main(["promote", "v1", "--config", str(tmp_path / "driftwheel.yaml"), "--json"])
    gateway.join()
    captured = capsys.readouterr()
    assert captured.err.startswith("waiting until the gateway serves v1 "), "minutes went by without a word"
    printed = json.loads(captured.out)
    assert (printed["observed_version_id"], printed["observed_fence"]) == ("version_1", 1)


def test_where_no_gateway_runs_the_version_waits_for_one(published: Ledger, settings: Settings) -> None:
    alias = controls.promote(published, settings.alias_key, "version_1")
    assert not has_gateway(published, alias, patience_seconds=0.2)
    assert send_heartbeat(published, alias, "here:8000/1")
    assert has_gateway(published, alias, patience_seconds=0.2)


def test_nobody_is_told_that_a_version_is_live_that_no_gateway_serves(
    published: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["promote", "v1", "--config", str(tmp_path / "driftwheel.yaml"), "--no-wait"])
    assert "no gateway" not in capsys.readouterr().err, "who does not wait knows"
    main(["promote", "v1", "--config", str(tmp_path / "driftwheel.yaml")])
    assert "no gateway runs yet: version_1 is served once `driftwheel serve` is started" in capsys.readouterr().err
