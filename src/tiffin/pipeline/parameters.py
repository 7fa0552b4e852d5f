"""Parameters of the pipeline: the article's names and defaults, and after them our own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tiffin.errors import InvalidArgument, closest


class Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a run is told. The pipeline for Kubeflow takes the same, under the same names, with the same defaults."""

    feast_step_image: str = "gcr.io/project_id/feast_kube/apachespark_job:v1"
    trainmodel_step_image: str = "gcr.io/project_id/feast_kube/train_job:v1"
    evaluator_step_image: str = "gcr.io/project_id/feast_kube/evals_job:v1"
    json_bucket: str = "gs://feast_data_source/data/features.json"
    entity_bucket: str = "gs://feast_data_source/data/entity.csv"
    staging_bucket: str = "gs://feast-staging-bucket-3670014/"
    split_size: float = 0.2
    epochs: int = 5
    learning_rate: float = 0.001
    batch_size: int = 64
    shuffle_size: int = 1000
    target_name: str = "driver_statistics__sales_status"
    tensorboard_gcs_logs: str = "gs://feast_data_source/taxi/logs"
    gcs_path: str = "gs://feast_data_source/taxi/model"
    gcs_path_confusion: str = "gs://feast_data_source/taxi/"
    mode: str = "gcs"
    probability: float = 0.5
    serving_name: str = "kfserving-feast-serving"
    serving_namespace: str = "default"
    image: str = "gcr.io/project_id/feast_kubeflow/serving_job:v1"
    feature_service: str = ""
    split: str = "share"
    seed: int = 0
    hidden: str = "32,16"
    classes: str = "0,1"
    missing: str = "impute"
    gate: str = ""
    core_url: str = ""
    serving_url: str = ""
    project: str = "default"

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Parameters:
        """Read parameters, texts as they stand in commands among them; InvalidArgument for unknown or wrong ones."""
        for name in given:
            if name not in cls.__struct_fields__:
                raise InvalidArgument(
                    f"The pipeline has no parameter {name!r}.", field=name, hint=closest(name, cls.__struct_fields__)
                )
        try:
            return msgspec.convert(given, cls, strict=False)
        except msgspec.ValidationError as error:
            raise InvalidArgument(f"A parameter is of another type: {error}.", hint="See their defaults.") from error
