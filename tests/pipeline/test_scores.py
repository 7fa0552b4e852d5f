from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from tiffin.errors import InvalidArgument
from tiffin.pipeline.scores import METRICS, judge, read_gates, thinned

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=1, max_size=80)


@given(ROWS, st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]))
def test_metrics_are_those_of_scikit_learn(rows: list[tuple[bool, int]], threshold: float) -> None:
    labels = np.array([int(label) for label, _ in rows])
    scores = np.array([score / 20 for _, score in rows], dtype=np.float32)
    found = judge(labels, scores, threshold)
    predicted = scores >= np.float32(threshold)
    assert found.confusion == reference.confusion_matrix(labels, predicted, labels=[0, 1]).tolist()
    expected = {
        "accuracy-score": reference.accuracy_score(labels, predicted),
        "precision": reference.precision_score(labels, predicted, zero_division=0),
        "recall": reference.recall_score(labels, predicted, zero_division=0),
        "f1": reference.f1_score(labels, predicted, zero_division=0),
        "share-of-ones": labels.mean(),
    }
    if len(set(labels)) == 2:
        expected["auc"] = reference.roc_auc_score(labels, scores)
    assert set(found.metrics) == {*expected, "log-loss"} <= set(METRICS)
    for name, value in expected.items():
        assert found.metrics[name] == pytest.approx(value, abs=1e-12), name


@given(ROWS.filter(lambda rows: len({label for label, _ in rows}) == 2))
def test_the_curve_is_that_of_scikit_learn_without_infinities(rows: list[tuple[bool, int]]) -> None:
    labels = np.array([int(label) for label, _ in rows])
    scores = np.array([score / 20 for _, score in rows], dtype=np.float32)
    curve = judge(labels, scores, 0.5).roc
    fpr, tpr, thresholds = reference.roc_curve(labels, scores, drop_intermediate=False)
    assert np.allclose([point[0] for point in curve], fpr)
    assert np.allclose([point[1] for point in curve], tpr)
    assert np.allclose([point[2] for point in curve][1:], thresholds[1:])
    assert np.isfinite(curve).all()
    assert not (scores >= np.float32(curve[0][2])).any()  # the first point is that of no row


def test_a_curve_is_thinned_between_its_ends() -> None:
    points = [(n / 1000, n / 1000, 1 - n / 1000) for n in range(1001)]
    shown = thinned(points, 50)
    assert len(shown) == 50
    assert (shown[0], shown[-1]) == (points[0], points[-1])
    assert thinned(points[:50], 50) == points[:50]


def test_gates_are_read_and_kept() -> None:
    gates = read_gates("auc>=0.7, log-loss <= 0.5")
    assert [str(gate) for gate in gates] == ["auc >= 0.7", "log-loss <= 0.5"]
    assert [gate.missed({"auc": 0.7, "log-loss": 0.5}) for gate in gates] == ["", ""]
    assert gates[0].missed({"auc": 0.69}) == "auc is 0.6900, and auc >= 0.7 is asked"
    assert "not known" in gates[0].missed({})
    assert read_gates("") == []


@pytest.mark.parametrize("text", ["auc", "auc>0.7", "beauty>=1", "auc>=high", "auc>=nan", ">=1"])
def test_what_is_no_gate_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="is no gate"):
        read_gates(text)
