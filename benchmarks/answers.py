"""What an answer to a join looks like from outside: its size, and a fingerprint of the rows that won."""

from typing import Any


def fingerprint(arrow: Any, ids: list[str]) -> dict[str, int]:
    """Rows, rows with a winner, and the sum of the winners' row numbers, over the columns `ids` (one per table).

    Two contenders with one fingerprint chose the same rows, ties and max age included, for all that a benchmark needs.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    matched, total = 0, 0
    for name in ids:
        column = pa.table(arrow).column(name)
        matched += len(column) - column.null_count
        total += int(pc.sum(column.cast(pa.int64())).as_py() or 0)
    return {"rows": arrow.num_rows, "matched": matched, "winners": total}
