"""Reports are served inside a sandbox, and only reports."""

import socket
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from dashboard.web_server import build_app, listen, report_path
from driftwheel.errors import ConflictError
from driftwheel.records.nouns import DriftSignal
from driftwheel.settings.settings import Settings
from driftwheel.store.ledger import Ledger


def test_a_report_is_sandboxed(seeded: dict[str, str], settings: Settings, ledger: Ledger) -> None:
    answer = TestClient(build_app(ledger, settings.project, settings.root)).get(f"/reports/{seeded['check']}")
    assert answer.status_code == 200
    assert "Evidently says" in answer.text
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts; default-src 'none'")
    assert "allow-same-origin" not in policy


@pytest.mark.parametrize("check_id", ["nobody", "..", "%2e%2e%2fledger.db", "a%00b"])
def test_nothing_else_is_served(check_id: str, seeded: dict[str, str], settings: Settings, ledger: Ledger) -> None:
    assert report_path(ledger, settings.project, settings.root, check_id) is None


def test_a_report_outside_the_storage_folder_is_not_served(
    seeded: dict[str, str], settings: Settings, ledger: Ledger
) -> None:
    outside = settings.root.parent / "elsewhere"
    outside.mkdir()
    (outside / "report.html").write_text("secret", encoding="utf-8")
    signal = ledger.find(DriftSignal, check_id="check_5", limit=1)[0]
    ledger.add(replace(signal, id="signal_x", check_id="check_x", report_path=str(outside)))
    assert report_path(ledger, settings.project, settings.root, "check_x") is None


def test_a_taken_port_is_a_conflict() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConflictError, match=rf"127\.0\.0\.1:{port}"):
            listen("127.0.0.1", port)
