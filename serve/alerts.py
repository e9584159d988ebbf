"""The Alertmanager webhook: a firing alert with the label action=retrain asks for a retrain, once."""

from dataclasses import dataclass
from typing import Any

from driftwheel import controls
from driftwheel.errors import ConflictError
from driftwheel.store.ledger import Ledger
from driftwheel.store.row_values import storable
from serve.refusals import RequestRefused


@dataclass(frozen=True, kw_only=True)
class AlertsTaken:
    """What became of the alerts of one webhook call; it is the answer, too."""

    requested: list[str]
    """Ids of the decisions that were asked for."""
    ignored: int


def take_alerts(ledger: Ledger, project: str, body: dict[str, Any]) -> AlertsTaken:
    """Ask for a retrain for each new firing alert labelled action=retrain of an Alertmanager webhook, version 4.

    The same alert (fingerprint and start) never asks twice. One that comes while another retrain is unfinished
    is not remembered, so that Alertmanager's next repeat asks again if it still fires. Blocks.
    """
    alerts = body.get("alerts")
    if not isinstance(alerts, list):
        raise RequestRefused(400, "alerts must be a list (Alertmanager webhook, version 4)", "invalid_field")
    requested, ignored = [], 0
    for alert in alerts:
        labels = alert.get("labels") if isinstance(alert, dict) else None
        if not isinstance(labels, dict) or alert.get("status") != "firing" or labels.get("action") != "retrain":
            ignored += 1
            continue
        name = storable(f"alert-{alert.get('fingerprint')}-{alert.get('startsAt')}")
        decision_id = ledger.switch(project, name)
        if not decision_id:
            reason = storable(f"alert {labels.get('alertname', 'without name')} since {alert.get('startsAt')}")
            try:
                decision_id = controls.request_retrain(ledger, project, trigger="webhook", reason=reason).id
            except ConflictError:
                ignored += 1
                continue
            # After the decision: a crash in between lets the next repeat ask again; else the alert would be lost.
            ledger.set_switch(project, name, decision_id)
            requested.append(decision_id)
    return AlertsTaken(requested=requested, ignored=ignored)
