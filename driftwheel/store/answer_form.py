"""Which form a version's answers have, and where their label is, by the Dataset that it learned from."""

from driftwheel.records.nouns import Dataset, ModelVersion
from driftwheel.settings.data import DatasetSettings
from driftwheel.store.ledger import Ledger
from driftwheel.text.answers import AnswerForm, field_for


def answer_form(ledger: Ledger, version_id: str) -> AnswerForm | None:
    """Return the form of a version's answers; None where its Dataset is older than this, or is not known."""
    versions = ledger.find(ModelVersion, id=version_id, limit=1)
    datasets = ledger.find(Dataset, id=versions[0].dataset_id, limit=1) if versions else []
    return datasets[0].report.answer_form if datasets else None


def label_field_of(dataset: DatasetSettings, ledger: Ledger, version_id: str) -> str | None:
    """Return the field that holds the label of a version's answers; None where the whole answer is the label."""
    return field_for(answer_form(ledger, version_id), dataset.label_field)
