"""A model's report: one HTML page with its plots inside, which needs nothing beside it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

import numpy as np

from tiffin.pipeline.card import ModelCard
from tiffin.pipeline.scores import Judged, thinned

_SIDE: Final = 280
_EDGE: Final = 40
_BINS: Final = 20
_BLUE, _ORANGE, _GREY = "#1f5fa8", "#d9730d", "#8a8f98"
_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1b1f24}
h1{font-size:1.5rem;margin-bottom:0}h2{font-size:1.05rem;margin:1.5rem 0 .4rem}p{margin:.3rem 0}
table{border-collapse:collapse}td,th{padding:.25rem .8rem;border-bottom:1px solid #e3e6ea;text-align:right}
td:first-child,th:first-child{text-align:left}.plots{display:flex;flex-wrap:wrap;gap:1.5rem}
.kept{color:#1a7f37}.missed{color:#b42318}.quiet{color:#5c636d}svg text{font:11px system-ui,sans-serif;fill:#5c636d}
"""


def page(
    card: ModelCard,
    judged: Judged,
    labels: np.ndarray,
    scores: np.ndarray,
    *,
    missed: Sequence[str] = (),
    gates: Sequence[object] = (),
) -> str:
    """The page of a model that was judged by rows with these labels and scores."""
    asked = ", ".join(str(each) for each in gates)
    verdict = ""
    if missed:
        verdict = f'<p class="missed">Not to be served: {escape("; ".join(missed))}.</p>'
    elif gates:
        verdict = f'<p class="kept">Keeps what is asked: {escape(asked)}.</p>'
    metrics = "".join(f"<tr><td>{escape(name)}</td><td>{value:.4f}</td></tr>" for name, value in judged.metrics.items())
    features = "".join(
        f"<tr><td>{escape(name)}</td><td>{value:.6g}</td></tr>"
        for name, value in zip(card.features, card.imputed, strict=True)
    )
    plots = "".join(
        f"<figure><figcaption>{title}</figcaption>{plot}</figure>"
        for title, plot in (
            ("ROC", _roc(judged)),
            ("Scores by class", _histogram(labels, scores, card)),
            ("Calibration", _calibration(labels, scores)),
        )
        if plot
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(card.name)}</title><style>{_STYLE}</style></head><body>
<h1>{escape(card.name)}</h1>
<p class="quiet">learns {escape(card.target)} of project {escape(card.project)} from {len(card.features)} features;
trained on {card.rows:,} rows, judged by {len(labels):,}; threshold {card.threshold:g}</p>
{verdict}
<h2>Metrics</h2><table>{metrics}</table>
<h2>Confusion</h2>{_confusion(card, judged)}
<h2>Plots</h2><div class="plots">{plots}</div>
<h2>Features</h2><table><tr><th>feature</th><th>where missing ({escape(card.missing)})</th></tr>{features}</table>
</body></html>
"""


def _confusion(card: ModelCard, judged: Judged) -> str:
    heads = "".join(f"<th>predicted {escape(each)}</th>" for each in card.classes)
    rows = "".join(
        f"<tr><td>{escape(word)}</td>{''.join(f'<td>{count:,}</td>' for count in counts)}</tr>"
        for word, counts in zip(card.classes, judged.confusion, strict=True)
    )
    return f"<table><tr><th>true</th>{heads}</tr>{rows}</table>"


def _roc(judged: Judged) -> str:
    if not judged.roc:
        return ""
    curve = _line([(fpr, tpr) for fpr, tpr, _ in thinned(judged.roc)], _BLUE)
    return _axes("false positive rate", "true positive rate", _line([(0, 0), (1, 1)], _GREY, dashed=True) + curve)


def _calibration(labels: np.ndarray, scores: np.ndarray) -> str:
    """The share of ones among rows of similar score, where at least ten are similar."""
    places = np.minimum((scores * 10).astype(int), 9)
    points = [
        (float(scores[places == place].mean()), float(labels[places == place].mean()))
        for place in range(10)
        if (places == place).sum() >= 10
    ]
    marks = "".join(f'<circle cx="{_x(x):.1f}" cy="{_y(y):.1f}" r="3" fill="{_BLUE}"/>' for x, y in points)
    body = _line([(0, 0), (1, 1)], _GREY, dashed=True) + _line(points, _BLUE) + marks
    return _axes("score", "share of ones", body)


def _histogram(labels: np.ndarray, scores: np.ndarray, card: ModelCard) -> str:
    counts = [np.histogram(scores[labels == each], bins=_BINS, range=(0, 1))[0] for each in (0, 1)]
    shares = [each / max(each.sum(), 1) for each in counts]
    top = max(float(share.max()) for share in shares) or 1.0
    bars = "".join(
        f'<rect x="{_x(place / _BINS):.1f}" y="{_y(share / top):.1f}" width="{_SIDE / _BINS:.1f}" '
        f'height="{_y(0) - _y(share / top):.1f}" fill="{colour}" fill-opacity=".55"/>'
        for colour, of_class in zip((_BLUE, _ORANGE), shares, strict=True)
        for place, share in enumerate(of_class)
    )
    words = "".join(
        f'<text x="{_EDGE + _SIDE - 4}" y="{18 + 15 * number}" text-anchor="end" style="fill:{colour}">'
        f"{escape(word)}</text>"
        for number, (word, colour) in enumerate(zip(card.classes, (_BLUE, _ORANGE), strict=True))
    )
    return _axes("score", f"share of its class (top {top:.0%})", bars + words)


def _axes(across: str, up: str, body: str) -> str:
    whole = _SIDE + 2 * _EDGE
    ticks = "".join(
        f'<text x="{_x(t):.0f}" y="{_y(0) + 15:.0f}" text-anchor="middle">{t:g}</text>'
        f'<text x="{_EDGE - 6}" y="{_y(t) + 4:.0f}" text-anchor="end">{t:g}</text>'
        for t in (0, 0.5, 1)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="{whole}" role="img">'
        f'<rect x="{_EDGE}" y="{_y(1):.0f}" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#d0d4da"/>'
        f"{body}{ticks}"
        f'<text x="{_EDGE + _SIDE / 2}" y="{_y(0) + 30:.0f}" text-anchor="middle">{escape(across)}</text>'
        f'<text transform="translate(10 {_y(0.5):.0f}) rotate(-90)" text-anchor="middle">{escape(up)}</text></svg>'
    )


def _line(points: Sequence[tuple[float, float]], colour: str, *, dashed: bool = False) -> str:
    path = " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in points)
    dash = ' stroke-dasharray="4 4"' if dashed else ""
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"{dash}/>'


def _x(value: float) -> float:
    return _EDGE + value * _SIDE


def _y(value: float) -> float:
    return _EDGE / 2 + (1 - value) * _SIDE
