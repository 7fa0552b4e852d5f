"""Fit: a multi-layer perceptron, learned epoch by epoch, that stops when the validation rows say so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from tiffin.errors import InvalidArgument, InvalidData, MissingDependency
from tiffin.pipeline.network import Layer, Scaler

if TYPE_CHECKING:
    from sklearn.neural_network import MLPClassifier

#: A feature that does not vary is divided by one: its scaled value is zero.
_STILL: Final = 1.0


class Settings(NamedTuple):
    """How a network learns. ``patience`` is how many epochs may pass without a better loss of validation rows."""

    epochs: int = 5
    batch_size: int = 64
    learning_rate: float = 0.001
    shuffle_size: int = 1000
    hidden: tuple[int, ...] = (32, 16)
    patience: int = 3
    seed: int = 0

    def check(self) -> None:
        """Raise InvalidArgument where a setting makes no sense."""
        for name in ("epochs", "batch_size", "shuffle_size", "patience"):
            if getattr(self, name) < 1:
                raise InvalidArgument(f"{name} must be at least 1, got {getattr(self, name)}.", field=name)
        if not self.learning_rate > 0:
            raise InvalidArgument(
                f"learning_rate must be greater than 0, got {self.learning_rate}.", field="learning_rate"
            )
        if not self.hidden or min(self.hidden) < 1:
            raise InvalidArgument(
                f"A network needs layers of at least one unit, got {self.hidden}.",
                field="hidden",
                hint="Give the units of each, such as 32,16.",
            )


class Epoch(NamedTuple):
    """What one pass over the training rows led to: log losses, and accuracy of validation rows."""

    number: int
    loss: float
    validation_loss: float
    validation_accuracy: float


class Fitted(NamedTuple):
    """What was learned, from training rows alone, at the best epoch."""

    imputed: np.ndarray
    scaler: Scaler
    layers: list[Layer]
    best: Epoch
    epochs: list[Epoch]


def fit(
    training: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    settings: Settings,
    *,
    watch: Callable[[Epoch], None] = lambda _: None,
) -> Fitted:
    """Learn labels of 0 and 1 from rows of features; NaN is a missing value.

    Each side is features (float64, rows x features) and labels (rows,). Missing values become the median of the
    training rows, and scaling is theirs, too: nothing of the validation rows is learned. Equal rows and settings give
    equal weights, to the last bit. InvalidData where a class has no training row.
    """
    settings.check()
    rows, labels = training
    for name in ("0", "1"):
        if not (labels == int(name)).any():
            raise InvalidData(
                f"No training row is of class {name}: there is nothing to tell apart.",
                field="target_name",
                hint="Give rows of both classes, or split them at random rather than by time.",
            )
    imputed = _medians(rows)
    filled = np.where(np.isnan(rows), imputed, rows)
    deviation = filled.std(axis=0)
    scaler = Scaler(filled.mean(axis=0), np.where(deviation > 0, deviation, _STILL))
    judged = np.where(np.isnan(validation[0]), imputed, validation[0])
    for side in (filled, judged):  # in place: these are the largest arrays here
        side -= scaler.mean
        side /= scaler.scale
    with _one_thread():
        layers, epochs = _learn((filled, labels), (judged, validation[1]), settings, watch)
    best = min(epochs, key=lambda each: each.validation_loss)
    return Fitted(imputed, scaler, layers, best, epochs)


def _learn(
    training: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    settings: Settings,
    watch: Callable[[Epoch], None],
) -> tuple[list[Layer], list[Epoch]]:
    """The layers of the best epoch, and all epochs until patience ended."""
    network = _network(settings)
    rows, labels = training
    generator = np.random.RandomState(settings.seed)
    epochs: list[Epoch] = []
    best, layers = np.inf, list[Layer]()
    for number in range(1, settings.epochs + 1):
        order = windowed(len(rows), settings.shuffle_size, generator)
        try:
            network.partial_fit(rows[order], labels[order], classes=[0, 1])
        except ValueError as error:  # weights that are no numbers: rows and labels were checked before
            raise _diverged(str(error)) from error
        scores = network.predict_proba(validation[0])[:, 1]
        epoch = Epoch(
            number,
            float(network.loss_),
            log_loss(validation[1], scores),
            float(((scores >= 0.5) == validation[1]).mean()),
        )
        epochs.append(epoch)
        watch(epoch)
        if epoch.validation_loss < best:
            best = epoch.validation_loss
            pairs = zip(network.coefs_, network.intercepts_, strict=True)
            layers = [Layer(weights.copy(), biases.copy()) for weights, biases in pairs]
        elif number - min(epochs, key=lambda each: each.validation_loss).number >= settings.patience:
            break
    if not layers:
        raise _diverged("the loss was never a number")
    return layers, epochs


def _diverged(found: str) -> InvalidData:
    return InvalidData(
        f"The network did not learn: {found}",
        field="learning_rate",
        hint="Give a smaller learning rate, and look for huge values among the features.",
    )


def _network(settings: Settings) -> MLPClassifier:
    try:
        from sklearn.neural_network import MLPClassifier
    except ImportError as error:
        raise MissingDependency("scikit-learn", extra="pipeline", purpose="Training a model") from error
    return MLPClassifier(
        hidden_layer_sizes=settings.hidden,
        batch_size=settings.batch_size,
        learning_rate_init=settings.learning_rate,
        shuffle=False,  # rows come shuffled
        random_state=settings.seed,
    )


def windowed(rows: int, size: int, generator: np.random.RandomState) -> np.ndarray:
    """An order of rows as a shuffle buffer of ``size`` gives it: each next one is drawn from those in the buffer."""
    if size >= rows:
        return generator.permutation(rows)
    buffer = list(range(size))
    order = np.empty(rows, dtype=np.int64)
    picks = (generator.random_sample(rows - size) * size).astype(np.int64)
    for place, pick in enumerate(picks):
        order[place] = buffer[pick]
        buffer[pick] = size + place
    order[rows - size :] = generator.permutation(buffer)
    return order


def log_loss(labels: np.ndarray, scores: np.ndarray) -> float:
    """The mean negative log likelihood of labels of 0 and 1 under scores, kept away from 0 and 1."""
    safe = np.clip(scores, 1e-12, 1 - 1e-12)
    return float(-np.where(labels == 1, np.log(safe), np.log1p(-safe)).mean())


def _medians(rows: np.ndarray) -> np.ndarray:
    """The median of each feature's values; 0 where there is none."""
    return np.array([np.median(column[~np.isnan(column)]) if not np.isnan(column).all() else 0.0 for column in rows.T])


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in one order, whatever the number of cores: weights then are the same everywhere."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield
