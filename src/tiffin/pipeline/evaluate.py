"""evaluate: a model judged by the validation rows of its dataset; one that misses a gate goes no further.

python -m tiffin.pipeline.evaluate --input FOLDER --model FOLDER --output FOLDER --probability 0.5
    [--gate "auc>=0.7"] [--gcs-path FOLDER] [--gcs-path-confusion FOLDER]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from tiffin.errors import FailedPrecondition
from tiffin.pipeline import arguments, artifacts, files, report
from tiffin.pipeline.arguments import say
from tiffin.pipeline.dataset import Dataset
from tiffin.pipeline.matrix import matrix
from tiffin.pipeline.model import Model
from tiffin.pipeline.network import with_card
from tiffin.pipeline.scores import Judged, judge, read_gates, thinned
from tiffin.pipeline.train import labels_of


class Evaluated(NamedTuple):
    """A model with the threshold that it was judged at, and how it did on each row."""

    model: Model
    judged: Judged
    labels: np.ndarray
    scores: np.ndarray


def evaluate(dataset: Dataset, model: Model, *, threshold: float = 0.5) -> Evaluated:
    """Judge a model by the validation rows, in the model's own order of features and by its scores.

    The model that is returned carries ``threshold``. FailedPrecondition where it is the model of other rows.
    """
    card, about = model.card, dataset.about
    if card.target != about.target or (card.dataset and card.dataset != about.hash):
        raise FailedPrecondition(
            f"The model {card.name!r} learned {card.target} of the rows {card.dataset}, and is to be judged by "
            f"{about.target} of {about.hash}: its own training rows may be among them.",
            hint="Give the dataset that it was trained with.",
        )
    chosen = Model(with_card(model.content, card.replace(threshold=threshold)))
    labels = labels_of(dataset.validation, about.target)
    scores = chosen.scores(matrix(dataset.validation, card.columns))
    return Evaluated(chosen, judge(labels, scores, threshold), labels, scores)


def parser() -> arguments.Parser:
    """The step's arguments, those of the article first."""
    made = arguments.Parser(prog="tiffin.pipeline.evaluate", description=str(__doc__).partition("\n")[0])
    made.add_argument("--probability", type=float, default=0.5, help="from which score on a row is a 1 (default: 0.5)")
    made.add_argument("--gcs-path", default="", help="folder or bucket for a model that passes")
    made.add_argument("--gcs-path-confusion", default="", help="folder or bucket for confusion_matrix.csv and roc.csv")
    made.add_argument("--gate", default="", help='what a model must keep, such as "auc>=0.7, log-loss<=0.6"')
    made.add_argument("--input", default="/mnt/dataset", help="folder of the dataset (default: /mnt/dataset)")
    made.add_argument("--model", default="/mnt/model", help="folder of the model (default: /mnt/model)")
    made.add_argument("--output", default="/mnt/evaluation", help="folder for report and model")
    made.add_argument("--report", default="", help="place of the report (default: report.html in --output)")
    made.add_argument("--logs", default="", help="folder of the event files, to be shown with the rest")
    made.add_argument("--metrics", default="/mlpipeline-metrics.json", help="metrics for Kubeflow's UI")
    made.add_argument("--ui-metadata", default="/mlpipeline-ui-metadata.json", help="what Kubeflow's UI shows")
    made.add_argument("--executor-output", default="", help="where Kubeflow reads what its artifacts hold")
    made.add_argument("--metrics-uri", default="", help="of the artifact of the metrics")
    made.add_argument("--classification-uri", default="", help="of the artifact of matrix and curve")
    return made


def step(given: argparse.Namespace) -> None:
    """Evaluate as the arguments say; everything is written before a gate can stop what follows."""
    gates = read_gates(given.gate)
    found = evaluate(Dataset.load(given.input, learned_only=True), Model.load(given.model), threshold=given.probability)
    missed = [reason for gate in gates if (reason := gate.missed(found.judged.metrics))]
    _write(given, found, missed, gates)
    for name, value in found.judged.metrics.items():
        say(f"{name}: {value:.4f}")
    say(f"The report is {_report_place(given)}")
    if missed:
        raise FailedPrecondition(
            f"The model {found.model.card.name!r} is not to be served: {'; '.join(missed)}.",
            field="gate",
            hint="Train a better one, or ask for less.",
        )
    places = [found.model.save(place) for place in (given.output, given.gcs_path) if place]
    say(f"The model keeps what is asked. Saved in {', '.join(places)}")


def _write(given: argparse.Namespace, found: Evaluated, missed: list[str], gates: Sequence[object]) -> None:
    card, judged = found.model.card, found.judged
    points = thinned(judged.roc)
    html = report.page(card, judged, found.labels, found.scores, missed=missed, gates=gates)
    files.write(_report_place(given), html.encode())
    place = given.gcs_path_confusion or given.output
    confusion = files.write(
        files.join(place, "confusion_matrix.csv"), artifacts.confusion_csv(card.classes, judged.confusion).encode()
    )
    curve = files.write(files.join(place, "roc.csv"), artifacts.roc_csv(points).encode())
    # Kubeflow keeps no artifact of a step that fails: a report that says why a gate was missed must lie here, too.
    shown_page = files.write(files.join(place, "report.html"), html.encode())
    shared = given.gcs_path_confusion and "://" in given.gcs_path_confusion  # else the UI could not read it
    shown = [
        artifacts.confusion_matrix(card.classes, judged.confusion, confusion if shared else ""),
        *([artifacts.roc(points, curve if shared else "")] if points else []),
        *([artifacts.tensorboard(given.logs)] if given.logs else []),
        artifacts.web_page(shown_page if shared else html),
    ]
    artifacts.write_metrics(given.metrics, judged.metrics)
    artifacts.write_ui(given.ui_metadata, shown)
    if given.executor_output:
        artifacts.write_executor_output(
            given.executor_output,
            {
                "metrics": {"uri": given.metrics_uri, "metadata": artifacts.metrics_metadata(judged.metrics)},
                "classification": {
                    "uri": given.classification_uri,
                    "metadata": artifacts.classification_metadata(card.classes, judged.confusion, points),
                },
            },
        )
    summary = {"metrics": judged.metrics, "confusion": judged.confusion, "missed": missed}
    files.write(files.join(given.output, "metrics.json"), msgspec.json.format(msgspec.json.encode(summary), indent=2))


def _report_place(given: argparse.Namespace) -> str:
    return str(given.report) or files.join(given.output, "report.html")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step; its exit code."""
    return arguments.run(step, parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
