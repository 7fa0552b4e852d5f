from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import polars as pl
import pytest

from tiffin.errors import CorruptData, InvalidArgument, InvalidData, NotFound
from tiffin.pipeline.card import ModelCard
from tiffin.pipeline.matrix import matrix
from tiffin.pipeline.model import Model
from tiffin.pipeline.network import Layer, Scaler, encode, with_card

WIDTH = 7


def card(**changes: object) -> ModelCard:
    made = ModelCard(
        name="late",
        project="default",
        features=tuple(f"other/trips:f{n}" for n in range(WIDTH)),
        entities={"driver_id": "INT64"},
        target="late",
        imputed=tuple(float(n) for n in range(WIDTH)),
        classes=("on time", "späť"),
    )
    return made.replace(**changes)


def network(seed: int = 0) -> tuple[Scaler, list[Layer]]:
    random = np.random.default_rng(seed)
    widths = (WIDTH, 32, 16, 1)
    pairs = pairwise(widths)
    layers = [Layer(random.normal(size=pair) / 4, random.normal(size=pair[1]) / 4) for pair in pairs]
    return Scaler(random.normal(size=WIDTH), random.random(WIDTH) + 0.5), layers


def by_hand(rows: np.ndarray, scaler: Scaler, layers: list[Layer]) -> np.ndarray:
    value = (np.where(np.isnan(rows), np.arange(WIDTH), rows) - scaler.mean) / scaler.scale
    for number, layer in enumerate(layers):
        value = value @ layer.weights + layer.biases
        if number < len(layers) - 1:
            value = np.maximum(value, 0)
    return (1 / (1 + np.exp(-value)))[:, 0].astype(np.float32)


def rows_of(count: int) -> np.ndarray:
    random = np.random.default_rng(5)
    rows = random.normal(size=(count, WIDTH)) * 3
    rows[random.random(rows.shape) < 0.1] = np.nan
    return rows


def test_scores_are_those_of_the_network_and_do_not_depend_on_company() -> None:
    parts = network()
    model = Model(encode(card(), *parts))
    rows = rows_of(1000)
    together = model.scores(rows)
    assert together.dtype == np.float32
    assert np.allclose(together, by_hand(rows, *parts), rtol=1e-6, atol=0)
    alone = np.concatenate([model.scores(row[None]) for row in rows])
    sevens = np.concatenate([model.scores(rows[n : n + 7]) for n in range(0, 1000, 7)])
    assert together.tobytes() == alone.tobytes() == sevens.tobytes()


def test_the_same_parts_give_the_same_bytes() -> None:
    assert encode(card(), *network()) == encode(card(), *network())
    assert encode(card(), *network()) != encode(card(), *network(1))


def test_a_card_comes_back_and_can_be_changed(tmp_path: Path) -> None:
    content = encode(card(), *network())
    model = Model(with_card(content, card(threshold=0.25)))
    assert model.card == card(threshold=0.25)
    assert model.card.columns == tuple(f"trips__f{n}" for n in range(WIDTH))
    model.save(str(tmp_path / "made"))
    loaded = Model.load(str(tmp_path / "made"))
    assert loaded.card == model.card
    assert loaded.scores(rows_of(9)).tobytes() == Model(content).scores(rows_of(9)).tobytes()
    assert loaded.classes(np.array([0.2, 0.25, 0.3], dtype=np.float32)) == ["on time", "späť", "späť"]
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["model.onnx"]


def test_rows_of_another_shape_and_infinite_ones_are_refused() -> None:
    model = Model(encode(card(), *network()))
    assert model.scores(np.empty((0, WIDTH))).shape == (0,)
    with pytest.raises(InvalidData, match="takes rows of 7 features"):
        model.scores(np.zeros((2, 3)))
    with pytest.raises(InvalidData, match="infinite") as caught:
        model.scores(np.where(np.arange(WIDTH) == 3, np.inf, 0.0)[None])
    assert caught.value.field == "other/trips:f3"


def test_what_is_no_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        Model.load(str(tmp_path))
    (tmp_path / "model.onnx").write_bytes(encode(card(), *network())[:-200])
    with pytest.raises(CorruptData):
        Model.load(str(tmp_path))
    stranger = onnx.load_from_string(encode(card(), *network()))
    del stranger.metadata_props[:]
    with pytest.raises(CorruptData, match="has no card"):
        Model(stranger.SerializeToString())
    onnx.helper.set_model_props(stranger, {"tiffin.card": '{"name": "x"}'})
    with pytest.raises(CorruptData, match="cannot be read"):
        Model(stranger.SerializeToString())


@pytest.mark.parametrize("changes", [{"features": ()}, {"imputed": (1.0,)}, {"threshold": 1.5}, {"threshold": -0.1}])
def test_a_card_that_makes_no_sense_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument):
        card(**changes)


def test_frames_become_rows_of_numbers_in_the_order_asked() -> None:
    frame = pl.DataFrame({"a": [1, None], "b": [True, False], "c": [0.5, float("nan")], "d": ["x", "y"]})
    rows = matrix(frame, ["c", "a", "b"])
    assert rows.dtype == np.float64
    assert np.array_equal(rows, [[0.5, 1, 1], [np.nan, np.nan, 0]], equal_nan=True)
    with pytest.raises(InvalidData, match="no column 'e'"):
        matrix(frame, ["e"])
    with pytest.raises(InvalidData, match="String"):
        matrix(frame, ["d"])
