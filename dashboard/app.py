"""The navigation: one page per noun, the overview first, the playground last.

python -m dashboard --config driftwheel.yaml
"""

from pathlib import Path

import streamlit as st

VIEWS = Path(__file__).with_name("views")
SECTIONS = {
    "": [("overview", "Overview", ":material/cycle:")],
    "Build": [
        ("datasets", "Datasets", ":material/table_rows:"),
        ("training_runs", "Training runs", ":material/show_chart:"),
        ("model_versions", "Model versions", ":material/deployed_code:"),
    ],
    "Serve": [
        ("deployments", "Deployments", ":material/swap_horiz:"),
        ("traffic", "Traffic", ":material/forum:"),
        ("playground", "Playground", ":material/compare_arrows:"),
    ],
    "Watch": [
        ("drift_signals", "Drift signals", ":material/monitoring:"),
        ("decisions", "Retrain decisions", ":material/rule:"),
    ],
}

st.set_page_config(page_title="driftwheel", layout="wide")
st.navigation(
    {
        section: [
            st.Page(VIEWS / f"{name}.py", title=title, icon=icon, url_path=name, default=name == "overview")
            for name, title, icon in pages
        ]
        for section, pages in SECTIONS.items()
    },
    expanded=True,
).run()
