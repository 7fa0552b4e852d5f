"""Chain: the steps one after another on this machine, each a process of its own, as on a cluster.

A process that ends gives its memory back, and one that fails stops the rest: what was made before it stays.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from tiffin.errors import JobFailed
from tiffin.pipeline.parameters import Parameters


class _Step(NamedTuple):
    """A step's arguments: parameters of the pipeline, and places in the run's folder."""

    parameters: tuple[str, ...]
    places: dict[str, str]


_RETRIEVE = ("feature_service", "json_bucket", "entity_bucket", "staging_bucket", "target_name", "split_size", "split")
_LEARN = ("epochs", "batch_size", "learning_rate", "shuffle_size", "seed", "hidden", "classes", "missing")
STEPS: Final = {
    "retrieve": _Step((*_RETRIEVE, "seed", "project", "core_url"), {"output": "dataset"}),
    "train": _Step(
        (*_LEARN, "tensorboard_gcs_logs", "gcs_path", "mode"),
        {"input": "dataset", "output": "model", "ui-metadata": "train/mlpipeline-ui-metadata.json"},
    ),
    "evaluate": _Step(
        ("probability", "gate", "gcs_path", "gcs_path_confusion"),
        {
            "input": "dataset",
            "model": "model",
            "output": "evaluation",
            "metrics": "evaluation/mlpipeline-metrics.json",
            "ui-metadata": "evaluation/mlpipeline-ui-metadata.json",
        },
    ),
    "serve": _Step(("core_url", "serving_url"), {"model-uri": "evaluation", "url-file": "serving/url"}),
}
#: Lines that the error of a step repeats, where it failed without a word of its own.
_LAST: Final = 5


class Made(NamedTuple):
    """Where a run left what it made."""

    folder: Path
    dataset: Path
    model: Path
    report: Path
    logs: Path
    metrics: dict[str, float]


def run(
    parameters: Parameters,
    folder: Path,
    *,
    options: Sequence[str] = (),
    instance: str = "",
    tell: Callable[[str, str], None] = lambda _step, _line: None,
) -> Made:
    """Run all steps in ``folder``, telling every line of each as it comes.

    ``options`` are ``NAME=VALUE`` of the client; ``instance`` is what the served model is asked. JobFailed with the
    name of the step and its own reason where one fails. Buckets of the parameters that are left as the article has
    them lie on this machine instead, below ``folder``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    given = _here(parameters, folder)
    for step in STEPS:
        _run_step(step, _arguments(step, given, folder, options, instance), tell)
    metrics = msgspec.json.decode((folder / "evaluation" / "metrics.json").read_bytes())["metrics"]
    return Made(
        folder,
        folder / "dataset",
        folder / "evaluation",
        folder / "evaluation" / "report.html",
        Path(given["tensorboard_gcs_logs"]),
        metrics,
    )


def _here(parameters: Parameters, folder: Path) -> dict[str, Any]:
    """The parameters with the article's own buckets, which nobody else has, replaced by folders."""
    given = msgspec.structs.asdict(parameters)
    local = {
        "staging_bucket": "staging",
        "tensorboard_gcs_logs": "logs",
        "gcs_path": "published",
        "gcs_path_confusion": "evaluation",
    }
    defaults = msgspec.structs.asdict(Parameters())
    return given | {name: str(folder / place) for name, place in local.items() if given[name] == defaults[name]}


def run_here(step: str, arguments: Sequence[str]) -> None:
    """Run a step's own command line in this process; JobFailed where it ends with an error, which it has told."""
    code = importlib.import_module(f"tiffin.pipeline.{step}").main(arguments)
    if code:
        raise JobFailed(f"The step {step} failed with exit code {code}.", hint="Its reason stands above.")


def step_parameters(
    parameters: Parameters, folder: Path, options: Sequence[str], instance: str
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The parameters as they hold on this machine, and every step's arguments but for the places of its artifacts."""
    given = _here(parameters, folder)
    return given, {step: _told(step, given, options, instance) for step in STEPS}


def _arguments(step: str, given: dict[str, Any], folder: Path, options: Sequence[str], instance: str) -> list[str]:
    places = STEPS[step].places.items()
    return [
        *_told(step, given, options, instance),
        *(text for name, place in places for text in (f"--{name}", str(folder / place))),
    ]


def _told(step: str, given: dict[str, Any], options: Sequence[str], instance: str) -> list[str]:
    parameters = STEPS[step].parameters
    arguments = [text for name in parameters for text in (f"--{name.replace('_', '-')}", str(given[name]))]
    if step == "train":
        arguments += ["--name", given["serving_name"]]
    if step == "evaluate":
        arguments += ["--logs", given["tensorboard_gcs_logs"]]
    if step == "serve":
        arguments += ["--local", *(["--instance", instance] if instance else [])]
    if step in {"retrieve", "serve"}:
        arguments += [text for option in options for text in ("--option", option)]
    return arguments


def _run_step(step: str, arguments: Sequence[str], tell: Callable[[str, str], None]) -> None:
    command = [sys.executable, "-m", f"tiffin.pipeline.{step}", *arguments]
    lines: list[str] = []
    # A list of arguments, which no shell reads.
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            tell(step, lines[-1])
    if process.returncode:
        raise JobFailed(
            f"The step {step} failed with exit code {process.returncode}: {_reason(step, lines)}",
            hint="What the steps before it made is kept.",
        )


def _reason(step: str, lines: Sequence[str]) -> str:
    """What a step said of its failure: one line where it knew the reason, else its last ones."""
    own = f"tiffin.pipeline.{step}: "
    if lines and lines[-1].startswith(own):
        return lines[-1].removeprefix(own)
    return " | ".join(lines[-_LAST:]) or "it said nothing."
