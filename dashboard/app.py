"""The navigation: one page per noun, the overview first, the playground last.

python -m dashboard --config driftwheel.yaml
"""

from pathlib import Path

import streamlit as st

# No page has an icon: Streamlit makes it the tab's icon, which the browser would fetch from the internet.
VIEWS = Path(__file__).with_name("views")
SECTIONS = {
    "": [("overview", "Overview")],
    "Build": [
        ("datasets", "Datasets"),
        ("training_runs", "Training runs"),
        ("model_versions", "Model versions"),
        ("comparison", "Compare versions"),
    ],
    "Serve": [
        ("deployments", "Deployments"),
        ("traffic", "Traffic"),
        ("playground", "Playground"),
    ],
    "Watch": [
        ("drift_signals", "Drift signals"),
        ("decisions", "Retrain decisions"),
    ],
}

st.set_page_config(page_title="driftwheel", layout="wide")
st.navigation(
    {
        section: [
            st.Page(VIEWS / f"{name}.py", title=title, url_path=name, default=name == "overview")
            for name, title in pages
        ]
        for section, pages in SECTIONS.items()
    },
    expanded=True,
).run()
