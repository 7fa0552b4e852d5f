"""Writes over HTTP, in the shapes of Feast's feature server: pushes and materialisations, each in a thread.

They do what the client's own methods do. A few run at once; more are told to come back. One that does not end in time
is answered with 503 and stops between two batches: it may be sent again, since all of it may be applied twice.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar
from urllib.parse import unquote

import msgspec

from tiffin import clock
from tiffin.config import Config
from tiffin.control import Control
from tiffin.definitions.feature_table import FeatureTable
from tiffin.definitions.schema import TableSchema
from tiffin.errors import InvalidArgument, JobFailed, JobTimeout, NotFound, TiffinError
from tiffin.registry.access import Principal, Role
from tiffin.serving.access.gate import Gate
from tiffin.serving.metrics.online import ServingMetrics
from tiffin.serving.online.definitions import Definitions
from tiffin.serving.online.http import JSON, Answer, Request
from tiffin.serving.online.limits import Busy, Limits, OutOfTime, Places
from tiffin.serving.online.wire import decoded
from tiffin.workspace import Workspace

if TYPE_CHECKING:
    from tiffin.commit import Commit
    from tiffin.ingest.batch import OnInvalid
    from tiffin.ingest.text import Given
    from tiffin.recovery import Recovery
    from tiffin.sync import Sync

R = TypeVar("R")
Columns = dict[str, list[Any]]

_EMPTY: Final = Answer(b"")
_NULL: Final = Answer(b"null")


class UnknownSource(NotFound):
    """A push names a table that there is not: Feast's contract has a status and a class of its own for it."""

    status = 422


class PushRequest(msgspec.Struct):
    """What ``POST /push`` takes."""

    push_source_name: str
    df: Columns
    to: Literal["online", "offline", "online_and_offline"] = "online"


class WriteRequest(msgspec.Struct):
    """What ``POST /write-to-online-store`` takes."""

    feature_view_name: str
    df: Columns


class MaterializeRequest(msgspec.Struct):
    """What ``POST /materialize`` takes; times are ISO 8601, naive ones in UTC."""

    start_ts: str
    end_ts: str
    feature_views: list[str] | None = None


class IncrementalRequest(msgspec.Struct):
    """What ``POST /materialize-incremental`` takes.

    ``end_ts`` must be a time and has no effect: incremental work follows commits, and leaves the future out.
    """

    end_ts: str
    feature_views: list[str] | None = None


class Writes:
    """Answers requests that write. Used from one event loop."""

    def __init__(
        self,
        config: Config,
        workspace: Workspace,
        definitions: Definitions,
        gate: Gate,
        metrics: ServingMetrics,
        limits: Limits,
        project: str,
    ) -> None:
        self._config = config
        self._workspace = workspace
        self._recovered: Recovery | None = None
        self._definitions = definitions
        self._gate = gate
        self._metrics = metrics
        self._limits = limits
        self._project = project
        self._room = Places(limits.writes, Busy, "pushes and materialisations")
        self._threads = ThreadPoolExecutor(max(1, limits.writes), thread_name_prefix="tiffin-write")

    async def push(self, request: Request, principal: Principal) -> Answer:
        """Rows for one table, into the stores that the request names."""
        body = await request.body(self._limits)
        key = request.headers.get(b"idempotency-key")
        done: list[Commit] = []

        def work(control: Control) -> None:
            asked = decoded(_push, body)
            try:
                table = self._table(asked.push_source_name)
            except NotFound as error:
                raise UnknownSource(error.message, field="push_source_name", hint=error.hint) from None
            rows = _rows(asked.df, table)
            key_text = None if key is None else key.decode("latin-1")
            done.append(self._put(principal, table, rows, asked.to, key_text, control))

        return _told(request, done, await self._answered(request, principal, work, _EMPTY, "push"))

    async def push_stream(self, request: Request, principal: Principal) -> Answer:
        """Rows for one table of any project as an Arrow stream, into both stores; what the commit was.

        The parameters stand in the query: see :class:`~tiffin.serving.online.push.StreamPush`.
        """
        from tiffin.serving.online.push import read_push

        asked = read_push(request.query)
        body = await request.body(self._limits)
        key = request.headers.get(b"idempotency-key")
        project = asked.project or self._project
        done: list[Commit] = []

        def work(control: Control) -> None:
            table = self._workspace.table(asked.table, project)
            key_text = None if key is None else unquote(key.decode("latin-1"))
            rows = asked.rows(body)
            done.append(self._put(principal, table, rows, "both", key_text, control, on_invalid=asked.on_invalid))

        await self._answered(request, principal, work, _EMPTY, "push", project=project)
        return Answer(msgspec.json.encode(done[0]))

    async def write(self, request: Request, principal: Principal) -> Answer:
        """Rows for one table, into the online store alone."""
        body = await request.body(self._limits)
        done: list[Commit] = []

        def work(control: Control) -> None:
            asked = decoded(_write, body)
            table = self._table(asked.feature_view_name)
            done.append(self._put(principal, table, _rows(asked.df, table), "online", None, control))

        return _told(request, done, await self._answered(request, principal, work, _NULL, "push"))

    async def materialize(self, request: Request, principal: Principal) -> Answer:
        """The rows of a window of event times, into the online store."""
        body = await request.body(self._limits)

        def work(control: Control) -> None:
            from tiffin import sync

            asked = decoded(_materialize, body)
            start = clock.to_micros(asked.start_ts, field="start_ts")
            end = clock.to_micros(asked.end_ts, field="end_ts")
            if start >= end:
                raise InvalidArgument(
                    f"The window from {clock.to_iso(start)} to {clock.to_iso(end)} is empty.",
                    field="end_ts",
                    hint="The window includes start_ts and excludes end_ts: end_ts must be later.",
                )
            tables = self._tables(asked.feature_views)
            self._run(principal, sync.window(self._workspace.route, tables, start, end), tables)

        return await self._answered(request, principal, work, _NULL, "materialize")

    async def materialize_incremental(self, request: Request, principal: Principal) -> Answer:
        """What was committed since the last time, into the online store."""
        body = await request.body(self._limits)

        def work(control: Control) -> None:
            from tiffin import sync

            asked = decoded(_incremental, body)
            clock.to_micros(asked.end_ts, field="end_ts")
            tables = self._tables(asked.feature_views)
            self._run(principal, sync.incremental(self._workspace.route, tables), tables)

        return await self._answered(request, principal, work, _NULL, "materialize")

    def close(self) -> None:
        """Take no more work; what runs has been waited for by its requests."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _answered(
        self,
        request: Request,
        principal: Principal,
        work: Callable[[Control], None],
        answer: Answer,
        action: str,
        *,
        project: str = "",
    ) -> Answer:
        """Do the work in a thread, if the caller may have it done and there is room."""
        project = project or self._project
        self._gate.require(principal, project, Role.WRITER, action=action)
        self._definitions.require_fresh()
        request.project = project
        loop = asyncio.get_running_loop()
        deadline = _Deadline(self._limits.write_time)
        self._room.enter()
        running = loop.run_in_executor(self._threads, contextvars.copy_context().run, work, deadline)
        running.add_done_callback(self._left)
        done, _ = await asyncio.wait((running,), timeout=self._limits.write_time + 1)
        if not done:
            raise deadline.error()
        running.result()
        return answer

    def _left(self, running: asyncio.Future[None]) -> None:
        self._room.leave()
        if not running.cancelled():
            running.exception()  # whoever asked may be gone; nobody else wants to know

    @property
    def _recovery(self) -> Recovery:
        """What finishes pushes to a table that an earlier process was killed in."""
        from tiffin.recovery import Recovery

        if self._recovered is None:
            self._recovered = Recovery(self._workspace)
        return self._recovered

    def _put(
        self,
        principal: Principal,
        table: TableSchema,
        source: Given,
        to: str,
        key: str | None,
        control: Control,
        *,
        on_invalid: OnInvalid | None = None,
    ) -> Commit:
        from tiffin.ingest.batch import ingest
        from tiffin.ingest.online_only import push_online
        from tiffin.ingest.push import push

        self._gate.record(principal, table.project, "push", f"{table.name} to {to}")
        workspace, config = self._workspace, self._config
        skew = round(config.getfloat("max_skew") * 1_000_000)
        quarantines = config.getboolean("ingestion_drop_invalid_rows")
        shared: dict[str, Any] = {
            "on_invalid": on_invalid or ("quarantine" if quarantines else "reject"),
            "dead_letters": workspace.folder("deadletter_path", "dead_letters"),
            "staging": str(workspace.home / "staging"),
            "control": control,
        }
        if to != "offline":
            self._recovery.before([table])
        if to == "online":
            commit = push_online(workspace.route, table, source, max_skew=skew, **shared)
        elif to == "offline":
            latest = clock.now() + skew
            more: dict[str, Any] = {"erased": workspace.erased, "metrics": workspace.metrics}
            commit = ingest(table, source, latest=latest, idempotency_key=key, **more, **shared)
            workspace.upkeep.after(table, commit.version)
        else:
            commit = push(workspace.route, table, source, max_skew=skew, idempotency_key=key, **shared)
        self._metrics.pushed(table.project, commit.rows)
        return commit

    def _run(self, principal: Principal, work: Sync, tables: list[TableSchema]) -> None:
        """Run a job, and cancel it where it does not end in time."""
        from tiffin.jobs.base import IngestionJob
        from tiffin.jobs.record import JobType, new_record

        names = [table.name for table in tables]
        self._gate.record(principal, self._project, "materialize", ", ".join(names))
        self._recovery.before(tables)
        record = new_record(JobType.BATCH_INGESTION, self._project, names)
        task = self._workspace.launcher.submit(record, work)
        job = IngestionJob(task.record, self._workspace.jobs, task)
        try:
            job.wait(self._limits.write_time)
        except JobTimeout:
            job.cancel()
            raise _Deadline(self._limits.write_time).error() from None
        except JobFailed as error:
            if isinstance(error.__cause__, TiffinError):
                raise error.__cause__ from None
            raise

    def _table(self, name: str) -> TableSchema:
        return self._workspace.table(name, self._project)

    def _tables(self, names: list[str] | None) -> list[TableSchema]:
        if names is None:
            names = [table.name for table in self._workspace.registry.objects(FeatureTable, self._project)]
        return [self._table(name) for name in dict.fromkeys(names)]


def _told(request: Request, done: list[Commit], answer: Answer) -> Answer:
    """What the commit was, where the caller asks for JSON; else the answer that Feast's clients expect."""
    if b"application/json" not in request.headers.get(b"accept", b""):
        return answer
    return Answer(msgspec.json.encode(done[0]), headers=(JSON,))


def _rows(columns: Columns, table: TableSchema) -> Given:
    from tiffin.ingest.text import json_columns

    return json_columns(columns, table)


class _Deadline(Control):
    """The control of work that is given up after a while."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        if time.monotonic() > self._end:
            raise self.error()

    def error(self) -> OutOfTime:
        return OutOfTime(
            f"The work did not end within {self._seconds:g} s and was given up.",
            hint="Send less at once, or raise serving_write_timeout.",
            retry_after=10.0,
        )


_push = msgspec.json.Decoder(PushRequest)
_write = msgspec.json.Decoder(WriteRequest)
_materialize = msgspec.json.Decoder(MaterializeRequest)
_incremental = msgspec.json.Decoder(IncrementalRequest)
