"""train: a model from a dataset, saved with its scaler, its order of features and its threshold inside.

python -m tiffin.pipeline.train --input FOLDER --output FOLDER --epochs 5 --batch-size 64 --learning-rate 0.001
    [--tensorboard-gcs-logs FOLDER] [--gcs-path FOLDER] [--mode gcs|local]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from tiffin.errors import InvalidArgument, InvalidData, MissingDependency
from tiffin.pipeline import arguments, artifacts, files
from tiffin.pipeline.arguments import say
from tiffin.pipeline.card import Missing, ModelCard
from tiffin.pipeline.dataset import Dataset
from tiffin.pipeline.fit import Epoch, Fitted, Settings, fit
from tiffin.pipeline.matrix import matrix
from tiffin.pipeline.model import Model
from tiffin.pipeline.network import encode

MODES = ("gcs", "local")


def train(
    dataset: Dataset,
    settings: Settings,
    *,
    name: str = "model",
    classes: tuple[str, str] = ("0", "1"),
    threshold: float = 0.5,
    missing: Missing = "impute",
    watch: Callable[[Epoch], None] = lambda _: None,
) -> tuple[Model, Fitted]:
    """A model of a dataset's target, which must be 0 or 1, or true or false; and how it came about.

    The same dataset and settings give the same bytes. ``watch`` hears of every epoch as it ends.
    """
    about = dataset.about
    sides = [(matrix(frame, about.columns), labels_of(frame, about.target)) for frame in dataset[1:]]
    for rows, _ in sides:
        _check_finite(rows, about.features)
    fitted = fit(sides[0], sides[1], settings, watch=watch)
    card = ModelCard(
        name=name,
        project=about.project,
        features=about.features,
        entities=about.entities,
        target=about.target,
        classes=classes,
        threshold=threshold,
        missing=missing,
        imputed=tuple(fitted.imputed.tolist()),
        dataset=about.hash,
        rows=dataset.training.height,
        seed=settings.seed,
    )
    return Model(encode(card, fitted.scaler, fitted.layers)), fitted


def labels_of(frame: pl.DataFrame, target: str) -> np.ndarray:
    """A column as labels of 0 and 1, int64; InvalidData where it holds anything else."""
    column = frame[target]
    if column.dtype == pl.Boolean:
        return column.cast(pl.Int64).to_numpy()
    found = column.unique().sort()
    if not column.dtype.is_numeric() or not found.is_in([0, 1]).all():
        shown = ", ".join(map(repr, found.head(5)))
        raise InvalidData(
            f"The target {target!r} holds {shown}{', ...' if len(found) > 5 else ''}: a classifier learns 0 and 1.",
            field="target_name",
            hint="Choose a target of two classes, or turn it into one, such as delay > 15.",
        )
    return column.cast(pl.Int64).to_numpy()


def _check_finite(rows: np.ndarray, features: Sequence[str]) -> None:
    infinite = np.isinf(rows).any(axis=0)
    if infinite.any():
        raise InvalidData(
            f"The feature {features[int(infinite.argmax())]!r} has infinite values.",
            field="features",
            hint="Leave it out, or register one without.",
        )


def write_events(folder: Path, epochs: Sequence[Epoch], settings: Settings) -> None:
    """The epochs as TensorBoard's event files, and what was set as a text beside them."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise MissingDependency("tensorboardX", extra="pipeline", purpose="Writing events for TensorBoard") from error
    with SummaryWriter(str(folder)) as writer:
        for epoch in epochs:
            writer.add_scalar("loss/training", epoch.loss, epoch.number)
            writer.add_scalar("loss/validation", epoch.validation_loss, epoch.number)
            writer.add_scalar("accuracy/validation", epoch.validation_accuracy, epoch.number)
        rows = "\n".join(f"| {name} | {value} |" for name, value in settings._asdict().items())
        writer.add_text("settings", f"| setting | value |\n|--|--|\n{rows}")


def parser() -> arguments.Parser:
    """The step's arguments, those of the article first."""
    made = arguments.Parser(prog="tiffin.pipeline.train", description=str(__doc__).partition("\n")[0])
    made.add_argument("--epochs", type=int, default=5, help="passes over the rows, at most (default: 5)")
    made.add_argument("--batch-size", type=int, default=64, help="rows of one step (default: 64)")
    made.add_argument("--learning-rate", type=float, default=0.001, help="of Adam (default: 0.001)")
    made.add_argument("--tensorboard-gcs-logs", default="", help="folder or bucket for the event files")
    made.add_argument("--gcs-path", default="", help="folder or bucket for the candidate, in mode gcs")
    made.add_argument("--mode", choices=MODES, default="gcs", help="local keeps the model in --output (default: gcs)")
    made.add_argument("--shuffle-size", type=int, default=1000, help="rows in the shuffle buffer (default: 1000)")
    made.add_argument("--hidden", default="32,16", help="units of the hidden layers (default: 32,16)")
    made.add_argument("--patience", type=int, default=3, help="epochs without a better loss (default: 3)")
    made.add_argument("--seed", type=int, default=0, help="of weights and order (default: 0)")
    made.add_argument("--name", default="model", help="what the model is called (default: model)")
    made.add_argument("--classes", default="0,1", help="words for the classes 0 and 1 (default: 0,1)")
    made.add_argument("--missing", choices=("impute", "refuse"), default="impute", help="rows without a value")
    made.add_argument("--input", default="/mnt/dataset", help="folder of the dataset (default: /mnt/dataset)")
    made.add_argument("--output", default="/mnt/model", help="folder for the model (default: /mnt/model)")
    made.add_argument("--ui-metadata", default="/mlpipeline-ui-metadata.json", help="what Kubeflow's UI shows")
    return made


def step(given: argparse.Namespace) -> None:
    """Train as the arguments say, and save model, events and what Kubeflow shows."""
    classes = tuple(each.strip() for each in given.classes.split(","))
    if len(classes) != 2 or not all(classes) or classes[0] == classes[1]:
        raise InvalidArgument(
            f"--classes {given.classes!r} are not two words.", field="classes", hint="Write on-time,late."
        )
    settings = Settings(
        given.epochs,
        given.batch_size,
        given.learning_rate,
        given.shuffle_size,
        _units(given.hidden),
        given.patience,
        given.seed,
    )
    settings.check()
    dataset = Dataset.load(given.input, learned_only=True)
    model, fitted = train(dataset, settings, name=given.name, classes=classes, missing=given.missing, watch=_tell)
    logs = _save_events(given.tensorboard_gcs_logs or files.join(given.output, "logs"), fitted, settings, model.card)
    artifacts.write_ui(given.ui_metadata, [artifacts.tensorboard(logs)])
    places = [model.save(given.output)]
    if given.mode == "gcs" and given.gcs_path:
        # What was not judged yet must not lie where a model to serve is looked for.
        places.append(model.save(files.join(given.gcs_path, "candidate")))
    say(f"The best was epoch {fitted.best.number}. Saved in {', '.join(places)}; events in {logs}")


def _tell(epoch: Epoch) -> None:
    say(
        f"epoch {epoch.number}: loss {epoch.loss:.4f}, of validation rows {epoch.validation_loss:.4f}, "
        f"accuracy {epoch.validation_accuracy:.4f}"
    )


def _save_events(place: str, fitted: Fitted, settings: Settings, card: ModelCard) -> str:
    """Write the events below a place, in a folder that is named after the rows and the seed; that folder."""
    run = files.join(place, f"{card.name}-{card.dataset or 'rows'}-{card.seed}")
    with tempfile.TemporaryDirectory() as folder:
        write_events(Path(folder), fitted.epochs, settings)
        for path in sorted(Path(folder).iterdir()):
            files.write(files.join(run, path.name), path.read_bytes())
    return run


def _units(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(each) for each in text.split(","))
    except ValueError as error:
        raise InvalidArgument(
            f"--hidden {text!r} does not tell the units of layers.", field="hidden", hint="Write 32,16."
        ) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step; its exit code."""
    return arguments.run(step, parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
