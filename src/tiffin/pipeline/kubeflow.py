"""The pipeline for Kubeflow: retrieve -> train -> evaluate -> serve, as containers that pass artifacts to each other.

The parameters are those of :class:`~tiffin.pipeline.parameters.Parameters`. Images are parameters, since every
team builds its own; each holds this package. (A component's image must be a text: ``f"{image}"`` is one, with the
parameter's place in it.) The volume is scratch space: what a step hands to the next is an
artifact (``Dataset``, ``Model``, ``Metrics``), which Kubeflow keeps and shows.
"""

# Kubeflow's compiler reads annotations as objects: no postponed evaluation here.

from collections.abc import Callable
from typing import Any, Final

from kfp import dsl, kubernetes

#: Where the volume is mounted, and where the key of the service account.
SCRATCH: Final = "/mnt"
CREDENTIALS: Final = "/secret/gcp-credentials"
SECRET: Final = "user-gcp-sa"  # noqa: S105  # the name of a secret
KEY_FILE: Final = f"{CREDENTIALS}/user-gcp-sa.json"


@dsl.container_component
def retrieve(
    image: str,
    staging_bucket: str,
    json_bucket: str,
    feature_service: str,
    entity_bucket: str,
    target_name: str,
    split_size: float,
    split: str,
    seed: int,
    core_url: str,
    project: str,
    dataset: dsl.Output[dsl.Dataset],
) -> dsl.ContainerSpec:
    """Features and labels of entity rows, point-in-time correct, as training and validation rows."""
    return dsl.ContainerSpec(
        image=f"{image}",
        command=["python", "-m", "tiffin.pipeline.retrieve"],
        args=[
            *("--staging-bucket", staging_bucket, "--json-bucket", json_bucket, "--entity-bucket", entity_bucket),
            *("--feature-service", feature_service, "--target-name", target_name),
            *("--split-size", split_size, "--split", split, "--seed", seed),
            *("--core-url", core_url, "--project", project, "--output", dataset.path),
        ],
    )


@dsl.container_component
def train(
    image: str,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    shuffle_size: int,
    seed: int,
    hidden: str,
    classes: str,
    missing: str,
    name: str,
    tensorboard_gcs_logs: str,
    gcs_path: str,
    mode: str,
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    mlpipeline_ui_metadata: dsl.Output[dsl.Artifact],
) -> dsl.ContainerSpec:
    """A model with its scaler, its order of features and its threshold inside."""
    return dsl.ContainerSpec(
        image=f"{image}",
        command=["python", "-m", "tiffin.pipeline.train"],
        args=[
            *("--epochs", epochs, "--batch-size", batch_size, "--learning-rate", learning_rate),
            *("--shuffle-size", shuffle_size, "--seed", seed, "--name", name),
            *("--hidden", hidden, "--classes", classes, "--missing", missing),
            *("--tensorboard-gcs-logs", tensorboard_gcs_logs, "--gcs-path", gcs_path, "--mode", mode),
            *("--input", dataset.path, "--output", model.path, "--ui-metadata", mlpipeline_ui_metadata.path),
        ],
    )


@dsl.container_component
def evaluate(
    image: str,
    probability: float,
    gate: str,
    gcs_path: str,
    gcs_path_confusion: str,
    tensorboard_gcs_logs: str,
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    evaluated: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    classification: dsl.Output[dsl.ClassificationMetrics],
    report: dsl.Output[dsl.HTML],
    mlpipeline_metrics: dsl.Output[dsl.Artifact],
    mlpipeline_ui_metadata: dsl.Output[dsl.Artifact],
) -> dsl.ContainerSpec:
    """The model judged by rows it has not seen; it ends the run where a gate is missed."""
    return dsl.ContainerSpec(
        image=f"{image}",
        command=["python", "-m", "tiffin.pipeline.evaluate"],
        args=[
            *("--probability", probability, "--gate", gate),
            *("--gcs-path", gcs_path, "--gcs-path-confusion", gcs_path_confusion, "--logs", tensorboard_gcs_logs),
            *("--input", dataset.path, "--model", model.path, "--output", evaluated.path, "--report", report.path),
            *("--metrics", mlpipeline_metrics.path, "--ui-metadata", mlpipeline_ui_metadata.path),
            *("--metrics-uri", metrics.uri, "--classification-uri", classification.uri),
            *("--executor-output", dsl.PIPELINE_TASK_EXECUTOR_OUTPUT_PATH_PLACEHOLDER),
        ],
    )


@dsl.container_component
def serve(
    step_image: str,
    name: str,
    namespace: str,
    image: str,
    core_url: str,
    serving_url: str,
    model: dsl.Input[dsl.Model],
    url: dsl.OutputPath(str),  # type: ignore[valid-type]
) -> dsl.ContainerSpec:
    """An InferenceService with the model, waited for until it is ready; its address."""
    return dsl.ContainerSpec(
        image=f"{step_image}",
        command=["python", "-m", "tiffin.pipeline.serve"],
        args=[
            *("--name", name, "--namespace", namespace, "--image", image, "--model-uri", model.uri),
            *("--core-url", core_url, "--serving-url", serving_url, "--url-file", url),
        ],
    )


def _placed(task: dsl.PipelineTask, volume: dsl.PipelineTask) -> dsl.PipelineTask:
    """A step with the volume, the secret, and never an answer from a cache: buckets change under their names."""
    kubernetes.mount_pvc(task, pvc_name=volume.outputs["name"], mount_path=SCRATCH)
    kubernetes.use_secret_as_volume(task, secret_name=SECRET, mount_path=CREDENTIALS)
    for variable in ("GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE"):
        task.set_env_variable(variable, KEY_FILE)
    task.set_caching_options(enable_caching=False)
    return task


@dsl.pipeline(name="training-pipeline", description="From features of the store to a model that is served")
def training_pipeline(
    feast_step_image: str = "gcr.io/project_id/feast_kube/apachespark_job:v1",
    trainmodel_step_image: str = "gcr.io/project_id/feast_kube/train_job:v1",
    evaluator_step_image: str = "gcr.io/project_id/feast_kube/evals_job:v1",
    json_bucket: str = "gs://feast_data_source/data/features.json",
    entity_bucket: str = "gs://feast_data_source/data/entity.csv",
    staging_bucket: str = "gs://feast-staging-bucket-3670014/",
    split_size: float = 0.2,
    epochs: int = 5,
    learning_rate: float = 0.001,
    batch_size: int = 64,
    shuffle_size: int = 1000,
    target_name: str = "driver_statistics__sales_status",
    tensorboard_gcs_logs: str = "gs://feast_data_source/taxi/logs",
    gcs_path: str = "gs://feast_data_source/taxi/model",
    gcs_path_confusion: str = "gs://feast_data_source/taxi/",
    mode: str = "gcs",
    probability: float = 0.5,
    serving_name: str = "kfserving-feast-serving",
    serving_namespace: str = "default",
    image: str = "gcr.io/project_id/feast_kubeflow/serving_job:v1",
    feature_service: str = "",
    split: str = "share",
    seed: int = 0,
    hidden: str = "32,16",
    classes: str = "0,1",
    missing: str = "impute",
    gate: str = "",
    core_url: str = "",
    serving_url: str = "",
    project: str = "default",
) -> None:
    """Retrieve, train, evaluate, serve. A step that fails ends the run; what was made before it stays."""
    volume = kubernetes.CreatePVC(
        access_modes=["ReadWriteOnce"], size="1Gi", pvc_name_suffix="-my-pvc", storage_class_name="standard"
    )
    volume.set_caching_options(enable_caching=False)  # else a second run is given the volume that the first deleted
    retrieved = _placed(
        retrieve(
            image=feast_step_image,
            staging_bucket=staging_bucket,
            json_bucket=json_bucket,
            feature_service=feature_service,
            entity_bucket=entity_bucket,
            target_name=target_name,
            split_size=split_size,
            split=split,
            seed=seed,
            core_url=core_url,
            project=project,
        ),
        volume,
    )
    trained = _placed(
        train(
            image=trainmodel_step_image,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            shuffle_size=shuffle_size,
            seed=seed,
            hidden=hidden,
            classes=classes,
            missing=missing,
            name=serving_name,
            tensorboard_gcs_logs=tensorboard_gcs_logs,
            gcs_path=gcs_path,
            mode=mode,
            dataset=retrieved.outputs["dataset"],
        ).after(retrieved),
        volume,
    )
    evaluated = _placed(
        evaluate(
            image=evaluator_step_image,
            probability=probability,
            gate=gate,
            gcs_path=gcs_path,
            gcs_path_confusion=gcs_path_confusion,
            tensorboard_gcs_logs=tensorboard_gcs_logs,
            dataset=retrieved.outputs["dataset"],
            model=trained.outputs["model"],
        ).after(trained),
        volume,
    )
    served = serve(
        step_image=evaluator_step_image,
        name=serving_name,
        namespace=serving_namespace,
        image=image,
        core_url=core_url,
        serving_url=serving_url,
        model=evaluated.outputs["evaluated"],
    ).after(evaluated)
    served.set_caching_options(enable_caching=False)
    deleted = kubernetes.DeletePVC(pvc_name=volume.outputs["name"]).after(served)
    deleted.set_caching_options(enable_caching=False)


#: The article's name for it.
feast_training_pipeline: Callable[..., Any] = training_pipeline
