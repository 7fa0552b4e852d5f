"""Runs: jobs from specs, and the controller of a store: what should run there, and how a process for it is started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tiffin.config import PREFIX, Config
from tiffin.definitions.feature_table import FeatureTable
from tiffin.definitions.source import KafkaSource
from tiffin.errors import InvalidArgument, TiffinError
from tiffin.jobs.alone import Alone
from tiffin.jobs.base import IngestionJob
from tiffin.jobs.decide import Wanted
from tiffin.jobs.record import JobType, new_record
from tiffin.jobs.spec import JobSpec, hash_of
from tiffin.registry.base import Key

if TYPE_CHECKING:
    from tiffin.jobs.control import Controller
    from tiffin.jobs.task import Work
    from tiffin.registry.snapshot import Snapshot
    from tiffin.workspace import Workspace

#: What of a definition tells people something, and its stream nothing.
_WORDS: Final = frozenset({"description", "labels", "owner"})
_ADDRESSES: Final = ("core_url", "serving_url")


def start(workspace: Workspace, spec: JobSpec) -> IngestionJob:
    """Start a job in this process; with an id, the one that a controller has recorded under it.

    NotFound for tables that are not registered; Conflict where another process has the job already. A spec with a slot
    stands by while another job has it.
    """
    record = workspace.jobs.get(spec.id) if spec.id else new_record(spec.type, spec.project, spec.tables)
    try:
        work = _work(workspace, spec)
    except TiffinError as error:
        if spec.id:
            workspace.jobs.fail(record, str(error))
        raise
    if spec.lease is not None:
        work = Alone(work, workspace.jobs.leases, spec.lease)
    task = workspace.launcher.submit(record, work, adopt=bool(spec.id))
    return IngestionJob(task.record, workspace.jobs, task)


def open_controller(workspace: Workspace, project: str | None = None) -> Controller:
    """A controller of one project, or of all; it has not taken its lease yet."""
    from tiffin.jobs.children import Children
    from tiffin.jobs.control import Controller, Pace
    from tiffin.jobs.lease import Lease, new_owner
    from tiffin.jobs.retention import Limits, pruning

    config = workspace.config
    name = "control" if project is None else f"control/{project}"
    lease = Lease(workspace.jobs.leases, name, new_owner(), config.getfloat("control_lease"))
    return Controller(
        workspace.jobs,
        Registered(workspace, project),
        Children(environment(config)),
        lease,
        project=project,
        chore=pruning(workspace.jobs, Limits.of(config)),
        pace=Pace(config.getfloat("control_every"), config.getfloat("control_grace")),
    )


class Registered:
    """What the registry says should run: a :class:`~tiffin.jobs.control.Goal`."""

    def __init__(self, workspace: Workspace, project: str | None) -> None:
        self._workspace = workspace
        self._project = project

    def streams(self) -> list[Wanted]:
        """The tables of active projects that have a stream which can be read."""
        snapshot = self._workspace.snapshot()
        active = set(snapshot.active_projects()) & ({self._project} if self._project else set(snapshot.projects))
        tables = [record for record in snapshot.records("FeatureTable") if not record.deleted]
        return [
            Wanted(record.key.project, record.key.name, stream_hash(snapshot, record.key.name, record.key.project))
            for record in tables
            if record.key.project in active and _is_read(snapshot, record.key.name, record.key.project)
        ]

    def has_table(self, project: str, table: str) -> bool:
        """Whether a table may be materialised."""
        snapshot = self._workspace.snapshot()
        record = snapshot.record(Key(project, "FeatureTable", table))
        return record is not None and not record.deleted and project in snapshot.active_projects()


def stream_hash(snapshot: Snapshot, table: str, project: str) -> str:
    """What tells a job of a table's stream from one of an earlier definition: all of it but words for people."""
    definition = snapshot.peek(FeatureTable, table, project)
    spec = {key: value for key, value in definition.to_spec().items() if key not in _WORDS}
    return hash_of("stream", project, spec)


def environment(config: Config) -> dict[str, str]:
    """The variables by which a child process has the options of this one, secrets among them.

    What came from the environment or from files, it reads there itself; but where the services are is told in any case,
    since this process may be one of them, which does not ask itself.
    """
    given = [option.name for option, _, origin in config.items() if origin in {"argument", "set"}]
    values = {name: config.get(name) for name in {*given, *_ADDRESSES}}
    return {f"{PREFIX}{name.upper()}": value for name, value in sorted(values.items())}


def _work(workspace: Workspace, spec: JobSpec) -> Work:
    if spec.type is JobType.STREAM_INGESTION:
        from tiffin.streaming import Streaming

        return Streaming(workspace, spec.tables[0], spec.project)
    from tiffin import sync

    tables = [workspace.table(name, spec.project) for name in spec.tables]
    if spec.start is None and spec.end is None:
        return sync.incremental(workspace.route, tables)
    if spec.start is not None and spec.end is not None and spec.start >= spec.end:
        raise InvalidArgument("The window of the job is empty.", field="end", hint="Its end must be later.")
    return sync.window(workspace.route, tables, spec.start, spec.end)


def _is_read(snapshot: Snapshot, table: str, project: str) -> bool:
    """Whether a table has a stream of a kind that jobs can read."""
    return isinstance(snapshot.peek(FeatureTable, table, project).stream_source, KafkaSource)
