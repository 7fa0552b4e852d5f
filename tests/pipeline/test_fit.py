from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.errors import InvalidArgument, InvalidData
from tiffin.pipeline.fit import Settings, fit, windowed

Side = tuple[np.ndarray, np.ndarray]


def sides(seed: int = 0) -> tuple[Side, Side]:
    random = np.random.default_rng(seed)
    rows = random.normal(size=(600, 3)) * [1, 10, 0] + [0, 100, 7]
    labels = (rows[:, 0] + rows[:, 1] / 10 > 10).astype(int)
    rows[random.random(rows.shape) < 0.05] = np.nan
    return (rows[:400], labels[:400]), (rows[400:], labels[400:])


@given(st.integers(0, 60), st.integers(1, 70), st.integers(0, 5))
def test_a_shuffle_buffer_gives_every_row_once_and_none_before_it_came_in(rows: int, size: int, seed: int) -> None:
    order = windowed(rows, size, np.random.RandomState(seed))
    assert sorted(order) == list(range(rows))
    assert all(row < place + size for place, row in enumerate(order))


def test_what_is_imputed_and_scaled_is_of_training_rows_alone() -> None:
    training, validation = sides()
    found = fit(training, validation, Settings(epochs=2))
    assert np.allclose(found.imputed, np.nanmedian(training[0], axis=0))
    filled = np.where(np.isnan(training[0]), found.imputed, training[0])
    assert np.allclose(found.scaler.mean, filled.mean(axis=0))
    assert np.allclose(found.scaler.scale, [*filled.std(axis=0)[:2], 1.0])  # the third does not vary
    moved = fit(training, (validation[0] * 1000, validation[1]), Settings(epochs=1))
    assert np.array_equal(moved.imputed, found.imputed)
    assert np.array_equal(moved.scaler.mean, found.scaler.mean)


def test_equal_rows_and_settings_give_equal_weights() -> None:
    fitted = [fit(*sides(), Settings(epochs=3, seed=seed)) for seed in (1, 1, 2)]
    weights = [[layer.weights.tobytes() + layer.biases.tobytes() for layer in each.layers] for each in fitted]
    assert weights[0] == weights[1] != weights[2]


def test_it_learns_and_keeps_the_best_epoch() -> None:
    seen: list[int] = []
    found = fit(
        *sides(), Settings(epochs=60, learning_rate=0.01, patience=4), watch=lambda each: seen.append(each.number)
    )
    losses = [epoch.validation_loss for epoch in found.epochs]
    assert seen == [epoch.number for epoch in found.epochs] == list(range(1, len(losses) + 1))
    assert found.best.validation_loss == min(losses)
    assert len(losses) < 60
    assert len(losses) - found.best.number == 4  # patience ended it
    assert found.best.validation_accuracy > 0.9
    rows, labels = sides()[1]
    value = (np.where(np.isnan(rows), found.imputed, rows) - found.scaler.mean) / found.scaler.scale
    for layer in found.layers[:-1]:
        value = np.maximum(value @ layer.weights + layer.biases, 0)
    positive = (value @ found.layers[-1].weights + found.layers[-1].biases)[:, 0] >= 0
    assert (positive == labels).mean() == found.best.validation_accuracy  # the layers are those of the best epoch


def test_one_class_cannot_be_learned() -> None:
    (rows, labels), validation = sides()
    with pytest.raises(InvalidData, match="No training row is of class 1"):
        fit((rows, labels * 0), validation, Settings())


@pytest.mark.parametrize(
    "settings",
    [
        Settings(epochs=0),
        Settings(batch_size=0),
        Settings(learning_rate=0),
        Settings(learning_rate=float("nan")),
        Settings(shuffle_size=0),
        Settings(hidden=()),
        Settings(hidden=(3, 0)),
        Settings(patience=0),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: Settings) -> None:
    with pytest.raises(InvalidArgument):
        fit(*sides(), settings)


def test_a_network_that_diverges_says_so() -> None:
    training, validation = sides()
    with pytest.raises(InvalidData, match="did not learn"), np.errstate(all="ignore"):
        fit((training[0] * 1e300, training[1]), validation, Settings(epochs=1, learning_rate=1e200))
