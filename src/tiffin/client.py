"""Client: the facade of a feature store, on this machine or in services.

It only finds the parts and hands plain data from one to the next; each part is opened when it is first needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from tiffin import clock
from tiffin._version import __version__
from tiffin.config import Config
from tiffin.definitions.definition import Definition
from tiffin.definitions.entity import Entity
from tiffin.definitions.feature import Feature
from tiffin.definitions.feature_service import FeatureService
from tiffin.definitions.feature_table import FeatureTable
from tiffin.definitions.schema import TableSchema
from tiffin.errors import InvalidArgument
from tiffin.refs import DEFAULT_PROJECT, FeatureRef, check_project
from tiffin.workspace import Workspace, check_servers

if TYPE_CHECKING:
    from tiffin.commit import Commit
    from tiffin.compaction import Compaction
    from tiffin.ingest.consistency import ConsistencyReport
    from tiffin.ingest.erase import ErasureReport
    from tiffin.ingest.metrics import IngestionMetrics
    from tiffin.jobs.base import IngestionJob, Job
    from tiffin.jobs.record import JobRecord
    from tiffin.jobs.retrieval import RetrievalJob
    from tiffin.jobs.schedule import Schedule, Timespan
    from tiffin.jobs.task import Work
    from tiffin.online.read import Columns, Rows
    from tiffin.online.remote import RemoteReader
    from tiffin.online.response import OnlineResponse
    from tiffin.reader import Reader
    from tiffin.recovery import Recovery
    from tiffin.registry.base import Revision
    from tiffin.registry.diff import Difference
    from tiffin.registry.plan import Plan
    from tiffin.registry.resolve import Refs
    from tiffin.registry.search import FeatureInfo
    from tiffin.remote.http import Connection
    from tiffin.training import Batches

Table = str | FeatureTable
"""A feature table, by name; an object stands for its name, and what is registered under it counts."""
OnInvalid = Literal["reject", "quarantine"]
D = TypeVar("D", bound=Definition)


class Client:
    """A feature store.

    ``options`` and keywords are options of :mod:`tiffin.options`, such as ``home``, ``project`` or
    ``memory_budget``. Everything is in the folder ``home``, but for what options place in services: definitions and
    jobs with ``core_url``, online reads with ``serving_url``, online rows with ``redis_host`` or ``online_store``.
    Making a client opens nothing. ``project`` is optional everywhere and means the client's own.
    Clients are safe to use from several threads; ``close()``, or leaving a ``with`` block, stops the jobs that still
    run and releases what is held.
    """

    def __init__(self, options: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        self.config = Config(options, **kwargs)
        check_servers(self.config)
        self._project = check_project(self.config.get("project", DEFAULT_PROJECT))
        self._workspace = Workspace(self.config)
        self._recovered: Recovery | None = None
        self._reader: Reader | RemoteReader | None = None

    # Projects

    @property
    def project(self) -> str:
        """The project that calls mean when they name none."""
        return self._project

    def set_project(self, project: str | None = None) -> None:
        """Choose the project of later calls; None returns to ``default``."""
        self._project = check_project(project or DEFAULT_PROJECT)
        self.config.set("project", self._project)

    def create_project(self, project: str) -> None:
        """Make a project. Applying objects to a new one makes it, too."""
        self._workspace.registry.create_project(project)

    def list_projects(self) -> list[str]:
        """The names of the projects that are not archived."""
        return self._workspace.registry.projects()

    def archive_project(self, project: str) -> None:
        """Make a project read-only and hide it, for good. A client in it goes back to ``default``."""
        self._workspace.registry.archive_project(project)
        if project == self._project:
            self.set_project()

    # Definitions

    def apply(
        self, objects: Definition | Sequence[Definition], project: str | None = None, *, allow_breaking: bool = False
    ) -> Plan:
        """Register objects, all or none, in any order; what changed. Their ``meta`` is brought up to date."""
        return self._workspace.registry.apply(objects, project or self._project, allow_breaking=allow_breaking)

    def plan(self, objects: Definition | Sequence[Definition], project: str | None = None) -> Plan:
        """What :meth:`apply` would change, and how grave that is."""
        return self._workspace.registry.plan(objects, project or self._project)

    def list_entities(self, project: str | None = None, labels: Mapping[str, str] | None = None) -> list[Entity]:
        """The entities that carry all of ``labels``, by name."""
        return self._list(Entity, project, labels)

    def get_entity(self, name: str, project: str | None = None) -> Entity:
        """One entity."""
        return self._get(Entity, name, project)

    def list_feature_tables(
        self, project: str | None = None, labels: Mapping[str, str] | None = None
    ) -> list[FeatureTable]:
        """The feature tables that carry all of ``labels``, by name."""
        return self._list(FeatureTable, project, labels)

    def get_feature_table(self, name: str, project: str | None = None, revision: int | None = None) -> FeatureTable:
        """One feature table, as it is or as an earlier revision left it."""
        return self._get(FeatureTable, name, project, revision)

    def delete_feature_table(self, name: str, project: str | None = None, *, allow_breaking: bool = False) -> Plan:
        """Delete a table's definition; history and rows stay. Needs ``allow_breaking`` while services read it."""
        return self._delete(FeatureTable, name, project, allow_breaking=allow_breaking)

    def list_feature_services(
        self, project: str | None = None, labels: Mapping[str, str] | None = None
    ) -> list[FeatureService]:
        """The feature services that carry all of ``labels``, by name."""
        return self._list(FeatureService, project, labels)

    def get_feature_service(self, name: str, project: str | None = None, revision: int | None = None) -> FeatureService:
        """One feature service, as it is or as an earlier revision left it."""
        return self._get(FeatureService, name, project, revision)

    def delete_feature_service(self, name: str, project: str | None = None) -> Plan:
        """Delete a service; its history stays."""
        return self._delete(FeatureService, name, project)

    def list_features_by_ref(
        self,
        project: str | None = None,
        entities: Sequence[str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> dict[FeatureRef, Feature]:
        """Features by reference: of tables with exactly these entities, where given, that carry all of ``labels``."""
        wanted = (labels or {}).items()
        return {
            FeatureRef(feature.name, table.name): feature
            for table in self.list_feature_tables(project)
            if not entities or set(entities) == set(table.entities)
            for feature in table.features
            if wanted <= feature.labels.items()
        }

    def search(self, text: str, project: str | None = None) -> list[FeatureInfo]:
        """The features that all words of ``text`` describe, best first: of one project, or of all active ones."""
        return self._workspace.registry.search(text, project)

    def history(self, name: str, project: str | None = None) -> list[Revision]:
        """Every revision of an object, oldest first: who, when and what."""
        return self._workspace.registry.history(name, project or self._project)

    def diff(self, name: str, a: int, b: int, project: str | None = None) -> tuple[Difference, ...]:
        """What changed from revision ``a`` of an object to revision ``b``."""
        return self._workspace.registry.diff(name, a, b, project or self._project)

    def rollback(self, name: str, revision: int, project: str | None = None) -> Plan:
        """Make an object again what an earlier revision left, as a new revision."""
        return self._workspace.registry.rollback(name, revision, project or self._project)

    # Filling

    def ingest(
        self,
        feature_table: Table,
        source: Any,
        project: str | None = None,
        *,
        idempotency_key: str | None = None,
        on_invalid: OnInvalid | None = None,
    ) -> Commit:
        """Append a batch to a table's history, as one commit; the online store is not touched.

        ``source`` is a pandas, Polars or Arrow frame, an iterator of Arrow batches, or a path or URI of Parquet, CSV
        or JSON lines. ``on_invalid`` is "reject" (the default: one bad row refuses the batch) or "quarantine".
        """
        from tiffin.ingest.batch import ingest

        table = self._table(feature_table, project)
        workspace = self._workspace
        options = self._ingestion(idempotency_key, on_invalid)
        commit = ingest(table, source, erased=workspace.erased, metrics=workspace.metrics, **options)
        workspace.upkeep.after(table, commit.version)
        return commit

    def push(
        self,
        feature_table: Table,
        source: Any,
        project: str | None = None,
        *,
        idempotency_key: str | None = None,
        on_invalid: OnInvalid | None = None,
    ) -> Commit:
        """As :meth:`ingest`, and then write the batch's winners to the online store.

        Rows later than now + option ``max_skew`` are invalid. Where only the online service reaches the online store,
        it writes both.
        """
        serving = self._workspace.serving
        if serving is not None and not self._workspace.has_store:
            from tiffin.ingest.remote import push as send

            table = self._workspace.schema(_name(feature_table), project or self._project)
            return send(serving, table, source, idempotency_key=idempotency_key, on_invalid=self._fate(on_invalid))
        from tiffin.ingest.push import push

        table = self._table(feature_table, project)
        self._recovery.before([table])
        skew = round(self.config.getfloat("max_skew") * 1_000_000)
        return push(self._workspace.route, table, source, max_skew=skew, **self._ingestion(idempotency_key, on_invalid))

    def materialize(
        self,
        tables: Table | Sequence[Table] | None = None,
        start: clock.Instant | None = None,
        end: clock.Instant | None = None,
        block: bool = True,
        *,
        project: str | None = None,
    ) -> IngestionJob:
        """Write the winners among rows with ``start <= event time < end`` to the online store.

        ``tables`` are all of the project by default. Rows of the future wait for a later run. Returns when it is
        done, or at once unless ``block``.
        """
        from tiffin import sync

        first = None if start is None else clock.to_micros(start, field="start")
        last = None if end is None else clock.to_micros(end, field="end")
        if first is not None and last is not None and first >= last:
            raise InvalidArgument(
                f"The window from {clock.to_iso(first)} to {clock.to_iso(last)} is empty.",
                field="end",
                hint="The window includes start and excludes end: end must be later.",
            )
        chosen = self._tables(tables, project)
        self._recovery.before(chosen)
        return self._synced(sync.window(self._workspace.route, chosen, first, last), chosen, project, block=block)

    def materialize_incremental(
        self, tables: Table | Sequence[Table] | None = None, block: bool = True, *, project: str | None = None
    ) -> IngestionJob:
        """Write what was committed since the last incremental run to the online store.

        ``tables`` are all of the project by default. It follows commits, not event times: late rows arrive, and what
        was left because it lay in the future is looked at again.
        """
        from tiffin import sync

        chosen = self._tables(tables, project)
        self._recovery.before(chosen)
        return self._synced(sync.incremental(self._workspace.route, chosen), chosen, project, block=block)

    def start_offline_to_online_ingestion(
        self, feature_table: Table, start: clock.Instant, end: clock.Instant, project: str | None = None
    ) -> IngestionJob:
        """:meth:`materialize` of one table, as a job that goes on while this returns."""
        return self.materialize(feature_table, start, end, block=False, project=project)

    # Keeping both stores right

    def repair(self, *, project: str | None = None) -> list[Commit]:
        """Finish what crashes have cut off, of every table of all projects or of one; the commits that are online now.

        See :mod:`tiffin.recovery`. Nothing has to be stopped for it.
        """
        from tiffin.erasure import resume
        from tiffin.recovery import repair

        projects = self.list_projects() if project is None else [project]
        for each in projects:
            resume(self._workspace, each)
        tables = [table for each in projects for table in self._tables(None, each)]
        return repair(self._workspace, tables)

    def verify(
        self,
        tables: Table | Sequence[Table] | None = None,
        sample: int | None = 1000,
        *,
        fix: bool = False,
        examples: int = 100,
        project: str | None = None,
    ) -> ConsistencyReport:
        """Compare the online store with what the histories say at this instant; nothing is written unless ``fix``.

        ``tables`` are all of the project by default. About ``sample`` keys of each are compared, None for all, and up
        to ``examples`` differences of each are shown. ``fix`` writes just the rows that differ, and removes those that
        no history has. Writers need not stop for it.
        """
        from tiffin.ingest.verify import Asked
        from tiffin.verification import verify_tables

        if sample is not None and sample < 1:
            raise InvalidArgument(
                f"A sample has at least one key, not {sample!r}.", field="sample", hint="None compares all keys."
            )
        return verify_tables(self._workspace, self._tables(tables, project), Asked(sample, examples, fix))

    def compact(
        self,
        tables: Table | Sequence[Table] | None = None,
        *,
        vacuum: bool = False,
        retention: float | None = None,
        force: bool = False,
        project: str | None = None,
    ) -> list[Compaction]:
        """Merge the small files of histories, of all of the project's tables by default; what was done to each.

        ``vacuum`` also removes files that were out of use for ``retention`` seconds, by default option
        ``vacuum_retention_days``; with ``force`` even where a running job may read them. Rows, training sets, what was
        known at an instant and what online stores still wait for are the same before and after.
        """
        from tiffin.compaction import Vacuum, compact

        removing = Vacuum(retention, force) if vacuum else None
        return compact(self._workspace, self._tables(tables, project), vacuum=removing)

    def erase(self, entity: str, value: Any, project: str | None = None, *, dry_run: bool = False) -> ErasureReport:
        """Remove a key of an entity, or each of a list of keys, from all stores, and keep it from coming back.

        Everything goes that has the key among its keys. The report says what was removed, what remains to be done,
        which the same call takes up again, and where rows may be that it cannot reach. ``dry_run`` only counts.
        """
        from tiffin.erasure import erase_keys

        values = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
        return erase_keys(self._workspace, entity, values, project or self._project, dry_run=dry_run)

    def list_erasures(self, project: str | None = None) -> list[dict[str, Any]]:
        """Erasures of the project, the newest first: who, when, how far, what was removed where; never a key."""
        return [each.to_dict() for each in self._workspace.erased.source.find(project or self._project)]

    def schedule_offline_to_online_ingestion(
        self, feature_table: Table, ingestion_timespan: Timespan | None, cron_schedule: str, project: str | None = None
    ) -> None:
        """Materialise a table at the times of a cron expression in UTC, in place of what was scheduled before.

        Each run takes the window of ``ingestion_timespan`` that ends when it is due: seconds, a timedelta, or ISO 8601
        such as "PT2H"; None follows what was committed. A controller runs it: ``tiffin jobs run``.
        """
        from tiffin.jobs.schedule import new_schedule
        from tiffin.registry.registry import author

        table = self._table(feature_table, project)
        schedule = new_schedule(table.project, table.name, cron_schedule, ingestion_timespan, by=author())
        self._workspace.jobs.schedules.put(schedule)

    def unschedule_offline_to_online_ingestion(self, feature_table: Table, project: str | None = None) -> None:
        """Schedule a table no longer; nothing where it is not."""
        self._workspace.jobs.schedules.remove(project or self._project, _name(feature_table))

    def list_schedules(self, project: str | None = None) -> list[Schedule]:
        """The schedules of the project, by table."""
        return self._workspace.jobs.schedules.all(project or self._project)

    def start_stream_to_online_ingestion(self, feature_table: Table, project: str | None = None) -> IngestionJob:
        """Start a consumer of the table's stream, as a job that goes on until it is cancelled.

        Messages become rows of the history and of the online store, each once; with ``to_offline=False`` of the online
        store alone. Start it several times, here or elsewhere, to share the work. Unsupported for a KinesisSource.
        """
        from tiffin.jobs.record import JobType
        from tiffin.jobs.spec import JobSpec
        from tiffin.runs import start

        spec = JobSpec(JobType.STREAM_INGESTION, project or self._project, (_name(feature_table),))
        return start(self._workspace, spec)

    # Reading

    def get_historical_features(
        self,
        feature_refs: Refs,
        entity_source: Any,
        output_location: str | None = None,
        *,
        known_at: Literal["row"] | clock.Instant | None = None,
        project: str | None = None,
    ) -> RetrievalJob:
        """Start a point-in-time join; the job is returned at once, after everything that can be checked was.

        ``feature_refs`` is a list of "table:feature", a feature service or its name; ``entity_source`` a pandas, Polars
        or Arrow frame, a FileSource, or a path, with the keys and a column of instants. Each of its rows gets the
        values that were known of its keys at its time. ``known_at`` leaves out rows with a later created time: than
        the row's own for "row", or than an instant. Without ``output_location``, or the option
        ``historical_feature_output_location``, the answer stays in memory until its URI is asked for.
        """
        from tiffin.training import training_set

        instant = _known_at(known_at)
        tables, batches = training_set(self._workspace, feature_refs, project or self._project, entity_source, instant)
        return self._retrieval(tables, batches, project, output_location)

    def latest(
        self, feature_refs: Refs, at: clock.Instant | None = None, *, project: str | None = None
    ) -> RetrievalJob:
        """Start reading the features of every key that is known at an instant, by default now.

        The tables must have the same entities. This is batch scoring without a frame of entities.
        """
        from tiffin.training import known_keys

        instant = clock.now() if at is None else clock.to_micros(at, field="at")
        tables, batches = known_keys(self._workspace, feature_refs, project or self._project, instant)
        return self._retrieval(tables, batches, project, None)

    def get_online_features(
        self,
        feature_refs: Refs,
        entity_rows: Rows | Columns,
        project: str | None = None,
    ) -> OnlineResponse:
        """The newest values of keys, with a status each (semantics, section 4).

        ``entity_rows`` is a list of ``{"driver_id": 1001}``, or columns ``{"driver_id": [1001]}``.
        """
        reader = self._reader
        if reader is None:
            reader = self._reader = self._open_reader()
        return reader.read(feature_refs, entity_rows, project or self._project)

    # Jobs

    def list_jobs(
        self, include_terminated: bool = False, table_name: str | None = None, project: str | None = None
    ) -> list[Job]:
        """Jobs of the project, of every process, newest first; those that ended only with ``include_terminated``."""
        found = self._workspace.jobs.find(
            include_terminated=include_terminated, table=table_name, project=project or self._project
        )
        return [self._job(record) for record in found]

    def get_job(self, job_id: str) -> Job:
        """One job, of any project and process."""
        return self._job(self._workspace.jobs.get(job_id))

    # The client itself

    def measure(self, counter: IngestionMetrics) -> None:
        """Let something count what this client brings in, beside StatsD where options name it."""
        self._workspace.measure(counter)

    def version(self) -> dict[str, Any]:
        """The versions of what this client is made of and speaks to; Unavailable where a service does not answer."""
        workspace = self._workspace
        return {
            "sdk": {"version": __version__},
            "core": _version(workspace.core, "/health"),
            "serving": _version(workspace.serving, "/ready"),
        }

    def close(self) -> None:
        """Stop the jobs that still run and release everything that is held."""
        self._reader = None
        self._workspace.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client(project={self._project!r}, home={str(self._workspace.home)!r})"

    def _get(self, kind: type[D], name: str, project: str | None, revision: int | None = None) -> D:
        return self._workspace.registry.get(kind, name, project or self._project, revision=revision)

    def _list(self, kind: type[D], project: str | None, labels: Mapping[str, str] | None) -> list[D]:
        return self._workspace.registry.objects(kind, project or self._project, labels=labels)

    def _delete(self, kind: type[Definition], name: str, project: str | None, *, allow_breaking: bool = False) -> Plan:
        registry = self._workspace.registry
        return registry.delete(kind, name, project or self._project, allow_breaking=allow_breaking)

    def _open_reader(self) -> Reader | RemoteReader:
        serving = self._workspace.serving
        if serving is not None:
            from tiffin.online.remote import RemoteReader

            return RemoteReader(serving)
        from tiffin.reader import Reader

        return Reader(self._workspace)

    @property
    def _recovery(self) -> Recovery:
        from tiffin.recovery import Recovery

        if self._recovered is None:
            self._recovered = Recovery(self._workspace)
        return self._recovered

    def _table(self, table: Table, project: str | None) -> TableSchema:
        return self._workspace.table(_name(table), project or self._project)

    def _tables(self, tables: Table | Sequence[Table] | None, project: str | None) -> list[TableSchema]:
        """The tables that a call names, each once; all of the project for None."""
        if tables is None:
            tables = self.list_feature_tables(project)
        elif isinstance(tables, str | FeatureTable):
            tables = [tables]
        elif not isinstance(tables, Iterable):
            raise InvalidArgument(
                f"tables must name feature tables, got {tables!r}.",
                field="tables",
                hint="Name the tables first; start and end follow, as in materialize(None, start, end).",
            )
        chosen = [self._table(table, project) for table in tables]
        return list({table.name: table for table in chosen}.values())

    def _ingestion(self, idempotency_key: str | None, on_invalid: OnInvalid | None) -> dict[str, Any]:
        """What ingest and push hand on alike."""
        return {
            "idempotency_key": idempotency_key,
            "on_invalid": self._fate(on_invalid),
            "dead_letters": self._workspace.folder("deadletter_path", "dead_letters"),
            "staging": str(self._workspace.home / "staging"),
        }

    def _fate(self, on_invalid: OnInvalid | None) -> OnInvalid:
        """What happens to invalid rows."""
        return on_invalid or ("quarantine" if self.config.getboolean("ingestion_drop_invalid_rows") else "reject")

    def _synced(self, work: Work, tables: Sequence[TableSchema], project: str | None, *, block: bool) -> IngestionJob:
        from tiffin.jobs.base import IngestionJob
        from tiffin.jobs.record import JobType, new_record

        names = [table.name for table in tables]
        record = new_record(JobType.BATCH_INGESTION, project or self._project, names)
        task = self._workspace.launcher.submit(record, work)
        job = IngestionJob(task.record, self._workspace.jobs, task)
        if block:
            job.wait_here()
        return job

    def _retrieval(
        self, tables: Sequence[str], batches: Batches, project: str | None, output_location: str | None
    ) -> RetrievalJob:
        from tiffin.jobs.record import JobType, new_record
        from tiffin.jobs.retrieval import RetrievalJob, TrainingSet
        from tiffin.offline.retrieve import check_output
        from tiffin.registry.resolve import absolute

        record = new_record(JobType.HISTORICAL_RETRIEVAL, project or self._project, tables)
        configured = self.config.get("historical_feature_output_location")
        folder = self._workspace.folder("historical_feature_output_location", "historical")
        place = absolute(output_location or f"{folder}/{record.id}", "")
        if output_location:
            check_output(place)
        jobs = self._workspace.jobs
        work = TrainingSet(
            place,
            batches,
            lambda: jobs.set_output(record.id, place),
            to_files=bool(output_location or configured or self._workspace.memory_budget),
        )
        task = self._workspace.launcher.submit(record, work)
        return RetrievalJob(task.record, jobs, task)

    def _job(self, record: JobRecord) -> Job:
        from tiffin.jobs.base import IngestionJob
        from tiffin.jobs.record import JobType
        from tiffin.jobs.retrieval import RetrievalJob

        kind = RetrievalJob if record.type is JobType.HISTORICAL_RETRIEVAL else IngestionJob
        return kind(record, self._workspace.jobs, self._workspace.launcher.task(record.id))


def _known_at(value: clock.Instant | None) -> Literal["row"] | int | None:
    if value == "row":
        return "row"
    return None if value is None else clock.to_micros(value, field="known_at")


def _name(table: Table) -> str:
    return table.name if isinstance(table, FeatureTable) else table


def _version(service: Connection | None, path: str) -> Any:
    """What a service says of itself."""
    if service is None:
        return "not configured"
    return {"url": str(service.address), "version": service.get(path).get("version")}
