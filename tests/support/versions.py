"""Model versions for tests that only need them to be there."""

from driftwheel.records import ModelVersion, ModelVersionStatus


def published_version(id: str, *, project: str = "support", number: int = 1) -> ModelVersion:
    """Return a published version without files."""
    return ModelVersion(
        id=id,
        project=project,
        status=ModelVersionStatus.PUBLISHED,
        number=number,
        run_id="run",
        dataset_id="dataset",
        base_model="base",
        path="path",
        manifest_hash="hash",
        quantization="none",
    )
