"""The Alertmanager webhook: a firing alert with the label action=retrain asks for a retrain, once."""

from dataclasses import dataclass, field
from typing import Any

from driftwheel.control import controls
from driftwheel.errors import ConflictError
from driftwheel.records.alias_key import AliasKey
from driftwheel.records.by_whom import Cause
from driftwheel.settings.watching import PolicySettings
from driftwheel.store.ledger import Ledger
from driftwheel.store.row_values import storable
from driftwheel.traffic.fresh_labels import Caps
from serve.refusals import RequestRefused


@dataclass(frozen=True, kw_only=True)
class AlertsTaken:
    """What became of the alerts of one webhook call; it is the answer, too."""

    requested: list[str]
    """Ids of the decisions that were asked for."""
    ignored: int
    against: list[str] = field(default_factory=list)
    """What stood against a retrain, for each alert that asked for one and got none."""


def take_alerts(
    policy: PolicySettings, ledger: Ledger, key: AliasKey, body: dict[str, Any], *, by: Cause, caps: Caps
) -> AlertsTaken:
    """Ask for a retrain for each new firing alert labelled action=retrain of an Alertmanager webhook, version 4.

    The same alert (fingerprint and start) never asks twice. One that comes while something stands against a retrain,
    such as another one or the cool-down, is not remembered, so that Alertmanager's next repeat asks again if it still
    fires; the answer says what that was. Blocks.
    """
    alerts = body.get("alerts")
    if not isinstance(alerts, list):
        raise RequestRefused(400, "alerts must be a list (Alertmanager webhook, version 4)", "invalid_field")
    requested, ignored, project = [], 0, key.project
    against: list[str] = []
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
                made = controls.request_retrain(policy, ledger, key, trigger="webhook", reason=reason, by=by, caps=caps)
                decision_id = made.id
            except ConflictError as error:
                ignored += 1
                against.append(str(error))
                continue
            # After the decision: a crash in between lets the next repeat ask again; else the alert would be lost.
            ledger.set_switch(project, name, decision_id)
            requested.append(decision_id)
    return AlertsTaken(requested=requested, ignored=ignored, against=against)
