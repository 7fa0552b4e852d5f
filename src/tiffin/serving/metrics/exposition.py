"""Exposition: series as text, in the format that a scraper asks for.

Both formats carry the same names. OpenMetrics wants the samples of a counter to end in ``_total``, which names that
Feast's dashboards know do not; such a counter is of type ``unknown`` there, so that no query depends on the format.
Sources: Prometheus text format 0.0.4, OpenMetrics 1.0.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from tiffin.serving.metrics.tally import Family, Series, State

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_LABEL_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n"})


def chosen_format(accept: str | None) -> str:
    """The content type to answer with: OpenMetrics where it is wanted at least as much as plain text."""
    open_metrics = text = 0.0
    for part in (accept or "").lower().split(","):
        kind, _, parameters = part.partition(";")
        weight = _weight(parameters)
        if kind.strip() == "application/openmetrics-text":
            open_metrics = max(open_metrics, weight)
        elif kind.strip() in {"text/plain", "text/*"}:
            text = max(text, weight)
    return OPEN_METRICS if open_metrics > 0 and open_metrics >= text else TEXT


def exposed(families: Iterable[Family], state: State, content_type: str) -> bytes:
    """The series of a state, family after family, sorted by labels. A family without series shows its type alone."""
    is_open = content_type == OPEN_METRICS
    lines: list[str] = []
    for family in families:
        series = state.get(family.name, {})
        if not series and not family.labels:
            continue
        lines += _head(family, is_open=is_open)
        lines += _samples(family, series)
    if is_open:
        lines.append("# EOF\n")
    return "".join(lines).encode()


def _head(family: Family, *, is_open: bool) -> list[str]:
    name, kind, escapes = family.name, str(family.kind), _HELP_ESCAPES
    if is_open:
        escapes = _LABEL_ESCAPES
        if kind == "counter":
            name, kind = name.removesuffix("_total"), "counter" if name.endswith("_total") else "unknown"
    return [f"# HELP {name} {family.help.translate(escapes)}\n", f"# TYPE {name} {kind}\n"]


def _samples(family: Family, series: Series) -> Iterator[str]:
    for labels, values in sorted(series.items()):
        pairs = ",".join(
            f'{name}="{value.translate(_LABEL_ESCAPES)}"' for name, value in zip(family.labels, labels, strict=True)
        )
        if family.kind == "histogram":
            yield from _histogram(family, pairs, values)
        else:
            yield f"{family.name}{_braced(pairs)} {_number(values[0])}\n"


def _histogram(family: Family, pairs: str, values: list[float]) -> Iterator[str]:
    before = f"{family.name}_bucket{{{pairs}{',' if pairs else ''}le="
    total = 0.0
    for bound, count in zip((*map(float, family.bounds), "+Inf"), values, strict=False):
        total += count
        yield f'{before}"{bound}"}} {_number(total)}\n'
    yield f"{family.name}_count{_braced(pairs)} {_number(total)}\n"
    yield f"{family.name}_sum{_braced(pairs)} {_number(values[-1])}\n"


def _braced(pairs: str) -> str:
    return f"{{{pairs}}}" if pairs else ""


def _number(value: float) -> str:
    """Whole numbers without a point, others so that they read back exactly."""
    return str(int(value)) if value == int(value) else repr(value)


def _weight(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0
