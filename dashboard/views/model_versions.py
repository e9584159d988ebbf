"""Model versions: scorecards side by side, verdicts, lineage; promote and roll back."""

from functools import partial
from typing import Any

import streamlit as st

from dashboard import charts, files, moves, promotion, queries, scorecards
from dashboard.views import page
from driftwheel.control.controls import SHADOW
from driftwheel.records.json_form import as_json
from driftwheel.records.nouns import Alias, Deployment, DeploymentStage, ModelVersion, ModelVersionStatus
from driftwheel.records.scorecard import FaultScore, Scorecard
from driftwheel.store.alias import find_alias

SERVING = (DeploymentStage.LIVE, DeploymentStage.CANARY, DeploymentStage.SHADOW, DeploymentStage.DRAINING)
COLORS = {"published": "green", "rejected": "red", "candidate": "orange"}


def show_scorecards(versions: list[ModelVersion]) -> None:
    """Draw the scorecards as the columns of one table."""
    numbers = {v.id: f"v{v.number}" for v in versions}
    chosen = st.multiselect(
        "Versions", list(numbers), default=list(numbers)[:4], format_func=lambda i: numbers[i], key="compared"
    )
    columns = scorecards.scorecard_columns([v for v in reversed(versions) if v.id in chosen])
    names = dict.fromkeys(name for column in columns.values() for name in column)
    page.table(
        [
            {"measure": name.replace("_", " "), **{title: values.get(name, "") for title, values in columns.items()}}
            for name in names
        ],
        height="content",
    )
    st.caption("In brackets: 95 % intervals (Wilson). Times are in seconds.")


def show_verdict(version: ModelVersion) -> None:
    """Draw the gate's verdict with its interval."""
    verdict = version.verdict
    if verdict.verdict is None:
        st.text("The gate has not judged this version.")
        return
    color = {"PROMOTE": "green", "REJECT": "red"}.get(verdict.verdict, "orange")
    st.badge(verdict.verdict, color=color)  # type: ignore[arg-type]  # see training_runs
    if verdict.override is not None:
        st.text(f"Overridden by {verdict.override.by} at {verdict.override.at}: {verdict.override.reason}")
    st.text(verdict.reason)
    chart = charts.interval(charts.differences_of(verdict))
    if chart is not None:
        st.altair_chart(chart, alt="Candidate minus live by slice, with confidence interval and limit")
    watched = verdict.watched.worst if verdict.watched else ()
    judged = {entry.slice: entry for entry in (*verdict.slices, *watched)}
    if judged:
        page.table(scorecards.slice_rows(judged.values()))
    if verdict.notes:
        with st.expander("How sure that is", key=f"notes-{version.id}"):
            st.text("\n".join(verdict.notes))


def show_labels(scorecard: Scorecard) -> None:
    """Draw how well each label and each field is answered, and how far the confidence can be believed."""
    bins = scorecard.reliability
    if bins:
        st.altair_chart(charts.reliability(bins), alt="Accuracy by confidence, with 95 % intervals")
        st.caption(
            f"Expected calibration error {scorecard.calibration_error:.3f} over 10 bins of equal width; "
            f"Brier score {scorecard.brier:.3f}. On the diagonal, confidence can be believed."
        )
    for part in (scorecard.labels, scorecard.fields):
        rows = scorecards.table_of_shares(part or {})
        if rows:
            page.table(rows)
    if not bins and not scorecard.labels and not scorecard.fields:
        st.text("The scorecard holds no labels, no fields and no confidences.")


def show_robustness(kinds: dict[str, FaultScore]) -> None:
    """Draw what typos, casing, missing punctuation, swapped words and other wording cost."""
    chart = charts.robustness(kinds)
    if chart is None:
        st.text("Robustness was not measured: evaluate.robustness_items was 0.")
        return
    st.altair_chart(chart, alt="Change of the accuracy by kind of fault with 95 % intervals")
    st.caption("The same questions with and without the fault, paired; 95 % intervals (Tango).")
    named = {kind.replace("_", " "): found for kind, found in kinds.items()}
    page.table(scorecards.table_of_shares(named))


def show_parity(version: ModelVersion) -> None:
    """Draw how far the merged, the quantized and the served model are from the trained one."""
    rows = scorecards.parity_rows(version)
    if not rows:
        st.text("This version was published before parity was measured.")
        return
    st.caption("The same prompts through each form of the model, each held against the one before it.")
    page.table(rows)


def stages_of(versions: list[ModelVersion]) -> dict[str, str]:
    """Return by version id what the gateway does with it now; the alias says which one should be live."""
    found = queries.newest(ledger, Deployment, settings.project, stage=list(SERVING))
    # A version that is live in one row and drains in another, of the engine before, is live: the first stage counts.
    found.sort(key=lambda d: SERVING.index(d.stage), reverse=True)
    stages = {d.version_id: f"{d.stage}, {d.share:.0%} of the requests" if d.share else str(d.stage) for d in found}
    alias = find_alias(ledger, *settings.alias_key)
    if alias is not None and alias.version_id not in stages:
        stages[alias.version_id] = "live" if alias.observed_version_id == alias.version_id else "about to go live"
    return {version.id: stages[version.id] for version in versions if version.id in stages}


def show_moves(version: ModelVersion, stage: str | None) -> None:
    """Draw what the version is now, and the buttons that move the alias."""
    alias = find_alias(ledger, *settings.alias_key)
    fence, previous = moves.seen_fence(alias), alias.previous_version_id if alias else None
    names = queries.version_names(ledger, settings.project)
    earlier = names.get(previous or "", "the previous version")
    shadowed = ledger.switch(settings.project, SHADOW)
    with st.container(horizontal=True, vertical_alignment="center"):
        show_promotion(version, fence, shadowed, why_not=why_not_promote(version, alias))
        page.confirmed_action(
            "Roll back",
            partial(moves.rollback, ledger, settings.alias_key, fence=fence, by=page.cause()),
            f"{earlier} is the desired version again.",
            key="rollback",
            seen=[previous, fence],
            question=f"Go back to {earlier}, at once for all requests?",
            why_not="" if previous else "There is no version before the live one to go back to.",
        )
        if shadowed == version.id:
            page.action(
                "End the shadow",
                partial(moves.shadow, ledger, settings.project, "", seen=shadowed, by=page.cause()),
                f"No more requests are copied to v{version.number}.",
                key="end_shadow",
                seen=[version.id],
            )
        st.badge(stage or str(version.status), color=color_of(version, stage))
    if shadowed == version.id:
        st.text(f"Live requests are copied to v{version.number}. How its answers differ:")
        st.code(f"driftwheel shadow v{version.number} --report", language="bash")


def color_of(version: ModelVersion, stage: str | None) -> Any:
    """Return the color of what a version is now."""
    return "green" if stage else COLORS.get(str(version.status), "gray")


def why_not_promote(version: ModelVersion, alias: Alias | None) -> str:
    """Say why a version cannot be promoted; empty where it can."""
    if alias is not None and alias.version_id == version.id:
        return f"v{version.number} is the desired version already."
    if version.status is not ModelVersionStatus.PUBLISHED:
        return f"v{version.number} is {version.status}, and only a published version may go live."
    return ""


def show_promotion(version: ModelVersion, fence: int, shadowed: str, *, why_not: str) -> None:
    """Draw the choice of how a version takes over, with a sentence for each way, and the button that does it."""
    serve, seen = settings.serve, [version.id, fence]
    box_key, help = page.drawn_key("promote-popover", seen), why_not or None
    with st.popover("Promote", type="primary", disabled=bool(why_not), help=help, key=box_key):
        ways = promotion.ways(serve)
        way = st.radio(
            f"How shall v{version.number} take over?",
            ways,
            index=ways.index(promotion.usual_way(serve)),
            captions=[promotion.explained(serve, way, f"v{version.number}") for way in ways],
            key=page.drawn_key("way", seen),
        )
        if len(ways) == 1:
            st.caption("There is one engine (serve.swap is in_place); canary and shadow need two.")
        if way == promotion.SHADOW:
            show_shadow_button(version, fence, shadowed)
        else:
            shares = chosen_shares(seen) if way == promotion.CANARY else []
            show_promote_button(
                version, fence, shares, disabled=bool(why_not) or not (shares or way == promotion.DIRECT)
            )


def show_promote_button(version: ModelVersion, fence: int, shares: list[float], *, disabled: bool) -> None:
    """Draw the button that makes a version the desired one, all at once or by a canary's shares, in percent."""
    steps = f"; first as a canary: {promotion.steps_in_words(shares)}" if shares else ""
    page.action(
        "Yes, promote",
        partial(
            moves.promote,
            ledger,
            settings.alias_key,
            version.id,
            fence=fence,
            shares=[share / 100 for share in shares],
            by=page.cause(),
        ),
        f"v{version.number} is the desired version; the gateway swaps when it has proved it{steps}.",
        key="promote",
        seen=[version.id, fence, *shares],
        type="primary",
        disabled=disabled,
    )


def chosen_shares(seen: list[Any]) -> list[float]:
    """Draw the shares that a canary may go through, those of the settings chosen; return them, smallest first."""
    shares = st.pills(
        "Shares of the requests, one after the other",
        promotion.offered_shares(settings.serve),
        selection_mode="multi",
        default=promotion.usual_shares(settings.serve),
        format_func=lambda share: f"{share:g} %",
        key=page.drawn_key("shares", seen),
    )
    st.text(f"{promotion.steps_in_words(sorted(shares))}." if shares else "Choose at least one share.")
    return sorted(shares)


def show_shadow_button(version: ModelVersion, fence: int, shadowed: str) -> None:
    """Draw the button that has live requests copied to a version."""
    if shadowed == version.id:
        st.text("Live requests are copied to it already.")
        return
    if shadowed:
        other = queries.version_names(ledger, settings.project).get(shadowed, shadowed)
        st.text(f"It takes the place of {other}, to which they are copied now.")
    page.action(
        "Yes, shadow",
        partial(moves.shadow, ledger, settings.project, version.id, seen=shadowed, by=page.cause()),
        f"Live requests are copied to v{version.number} when the gateway has proved it; History tells.",
        key="shadow",
        seen=[version.id, fence, shadowed],
        type="primary",
    )


settings, ledger = page.start(
    __file__, "Every version with what it is now, how well it was judged, and why it was let in or not."
)
versions = queries.newest(ledger, ModelVersion, settings.project, limit=50)
if not versions:
    page.nothing_yet("There is no model version yet.", "driftwheel publish")
    st.stop()
stages = stages_of(versions)
page.table(scorecards.version_rows(versions, stages))
version = page.choose("Version", versions, lambda v: f"v{v.number}  {queries.short(v.id)}", key="version")
with page.place_for("moves", [version.id]):
    show_moves(version, stages.get(version.id))
TABS = ("Verdict", "All numbers", "Confusion matrix", "Labels and calibration", "Robustness", "Parity", "Lineage")
judged, beside, mistakes, labels, faults, parity, lineage, card = st.tabs([*TABS, "Model card"])
with judged:
    show_verdict(version)
with beside:
    show_scorecards(versions)
with mistakes:
    matrix = version.scorecard.confusion
    if matrix is not None and matrix.labels:
        st.altair_chart(charts.confusion(matrix.labels, matrix.matrix), alt="Confusion matrix")
    else:
        st.text("The scorecard holds no confusion matrix: the task has no labels.")
with labels:
    show_labels(version.scorecard)
with faults:
    show_robustness(version.scorecard.robustness or {})
with parity:
    show_parity(version)
with lineage:
    page.facts(
        {
            "id": version.id,
            "status": version.status,
            "created": version.created_at,
            "folder": version.path,
            "quantization": version.quantization,
            "manifest hash": version.manifest_hash,
            **as_json(version.lineage),
        }
    )
with card:
    text = files.text_of(settings.root / "versions" / version.id / "model_card.md")
    st.code(text or "No model card was written for this version.", language=None, wrap_lines=True)
