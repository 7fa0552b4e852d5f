"""RetrievalJob: a training set on its way, and the answer once it is there.

Where no place for the answer is configured and no memory budget is set, the job holds it as one frame in memory:
``to_polars`` and its kin hand it out without going through a disk, and part files are written when their URI is first
asked for. Otherwise the job streams it to part files, and ``to_polars`` reads these. Either way the folder's name is
fixed when the job starts. A frame lives as long as somebody holds the job; in other processes only part files exist.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tiffin.control import UNWATCHED, Control
from tiffin.errors import FailedPrecondition, MissingDependency
from tiffin.jobs.base import Job
from tiffin.jobs.record import Outcome

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

#: Yields the training set batch after batch, at least one, which may be empty.
Batches = Callable[[Control], "Iterator[pl.DataFrame]"]


class TrainingSet:
    """The work of a retrieval and its answer: a frame in memory, part files in the folder ``uri``, or both."""

    def __init__(self, uri: str, batches: Batches, on_written: Callable[[], None], *, to_files: bool) -> None:
        self.uri = uri
        self._batches = batches
        self._on_written = on_written
        self._lock = threading.Lock()
        self._wants_files = to_files
        self._has_files = False
        self._frame: pl.DataFrame | None = None

    def run(self, control: Control) -> Outcome:
        """Retrieve it."""
        import polars as pl

        if self._wants_files:
            rows = self._write(self._batches(control), control)
        else:
            frame = pl.concat(self._batches(control), rechunk=False)
            rows = frame.height
            self._keep(frame, control)
        return Outcome(written=rows)

    def want_files(self) -> None:
        """See to it that part files are there: now if the answer is, else when the job completes."""
        with self._lock:
            self._wants_files = True
            if self._frame is not None and not self._has_files:
                self._write(iter([self._frame]), UNWATCHED)

    def frame(self) -> pl.DataFrame:
        """The answer, once the job has completed."""
        with self._lock:
            return _read(self.uri) if self._frame is None else self._frame.clone()

    def _keep(self, frame: pl.DataFrame, control: Control) -> None:
        with self._lock:
            self._frame = frame
            if self._wants_files:  # asked for while it ran
                self._write(iter([frame]), control)

    def _write(self, frames: Iterator[pl.DataFrame], control: Control) -> int:
        from tiffin.offline.retrieve import write_parts

        rows = write_parts(frames, self.uri, control=control)
        self._has_files = True
        self._on_written()
        return rows


class RetrievalJob(Job):
    """A training set on its way."""

    def get_output_file_uri(self, timeout_sec: float | None = None, block: bool = True) -> str:
        """The URI of the folder that holds the answer as ``part-*.parquet``.

        Waits for the job first, and raises as :meth:`wait` does. ``block=False`` returns the URI at once: the files
        are there when the job has completed.
        """
        if block:
            self.wait(timeout_sec)
        answer = self._answer()
        if answer is None:
            return self._files()
        answer.want_files()
        return answer.uri

    def to_polars(self) -> pl.DataFrame:
        """The answer as a Polars frame, after waiting for the job."""
        self.wait()
        answer = self._answer()
        return _read(self._files()) if answer is None else answer.frame()

    def to_arrow(self) -> pa.Table:
        """The answer as an Arrow table, after waiting for the job. Needs pyarrow."""
        frame = self.to_polars()
        table: pa.Table = _with_extra(frame.to_arrow, "pyarrow", "arrow")
        return table

    def to_pandas(self) -> pd.DataFrame:
        """The answer as a pandas frame, after waiting for the job.

        Integers and booleans with nulls are of pandas' nullable types, never floats. Needs pandas.
        """
        frame = self.to_polars()
        converted: pd.DataFrame = _with_extra(lambda: _pandas(frame), "pandas", "pandas")
        return converted

    def _answer(self) -> TrainingSet | None:
        task = self._local()
        return task.work if task is not None and isinstance(task.work, TrainingSet) else None

    def _files(self) -> str:
        """The folder that a job of another process wrote."""
        uri = self.record.output
        if not uri:
            raise FailedPrecondition(
                f"{self._record.title} holds its answer in the memory of the process that ran it "
                f"(pid {self._record.pid} on {self._record.host}).",
                hint="Start it with an output_location, or ask for its URI there.",
            )
        return uri


def _read(uri: str) -> pl.DataFrame:
    """The rows of part files, in the order in which they were written."""
    import polars as pl

    from tiffin.offline.location import list_parquet, normalise

    return pl.concat([pl.read_parquet(found.path, glob=False) for found in list_parquet(normalise(uri))])


def _pandas(frame: pl.DataFrame) -> pd.DataFrame:
    """A pandas frame in which whole numbers stay whole numbers beside nulls."""
    import polars as pl

    result = frame.to_pandas()
    for name, dtype in frame.schema.items():
        column = frame.get_column(name)
        if (dtype.is_integer() or dtype == pl.Boolean) and column.null_count():
            nullable: Any = "boolean" if dtype == pl.Boolean else str(dtype)
            result[name] = column.to_pandas(use_pyarrow_extension_array=True).astype(nullable)
    return result


def _with_extra(convert: Callable[[], Any], package: str, extra: str) -> Any:
    """Polars itself imports what its conversions need."""
    try:
        return convert()
    except ModuleNotFoundError as error:
        raise MissingDependency(package, extra=extra, purpose=f"Turning a training set into {package}") from error
