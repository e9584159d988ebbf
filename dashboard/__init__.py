"""The dashboard: Streamlit pages that read the ledger."""
