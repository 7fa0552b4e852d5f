"""Streaming: the work of the jobs that read streams, made of one client's parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tiffin.control import Control
from tiffin.definitions.feature_table import FeatureTable
from tiffin.definitions.source import KinesisSource
from tiffin.errors import InvalidArgument, InvalidConfig, Unsupported
from tiffin.ingest.stream import Means, Pace, StreamIngestion
from tiffin.ingest.stream_columns import Feed, Translation
from tiffin.ingest.stream_letters import LetterFiles, Letters
from tiffin.jobs.record import Outcome
from tiffin.stream.base import Partitions, StreamSource
from tiffin.stream.opening import open_stream, stream_options

if TYPE_CHECKING:
    from tiffin.registry.snapshot import Snapshot
    from tiffin.workspace import Workspace

#: How option ``stream_dead_letters`` names a topic.
_TOPIC: Final = "topic:"
_SECOND: Final = 1_000_000


class Streaming:
    """One consumer of a table's stream, as a job. It goes on until it is cancelled."""

    def __init__(self, workspace: Workspace, table: str, project: str) -> None:
        """Raise what keeps the stream from being read, as far as the definition tells."""
        self._workspace = workspace
        self._table = table
        self._project = project
        feed = self._feed(workspace.registry.snapshot(fresh=True))
        if feed.to_offline:
            workspace.check_histories([feed.table])
            Translation(feed)
        self._ingestion = StreamIngestion(lambda: self._feed(workspace.snapshot()), self._means())

    def run(self, control: Control) -> Outcome:
        """Bring messages in until ``control`` says to stop, which raises JobCancelled."""
        try:
            self._ingestion.run(control)
        finally:
            _, *rows = self._ingestion.totals
            control.rows(*rows)
        return Outcome(*rows)

    def _feed(self, snapshot: Snapshot) -> Feed:
        definition = snapshot.peek(FeatureTable, self._table, self._project)
        table = snapshot.schema(self._table, self._project, **self._workspace.places)
        source = definition.stream_source
        if source is None:
            raise InvalidArgument(
                f"{table.label()} has no stream source.",
                field="stream_source",
                hint="Give the feature table a KafkaSource, or push its rows.",
            )
        if isinstance(source, KinesisSource):
            raise Unsupported(
                f"{table.label()} streams from Amazon Kinesis ({source.stream_name!r}): such sources are registered, "
                "but not run.",
                field="stream_source",
                hint="Use a KafkaSource, or push the rows.",
            )
        return Feed(table, source, definition.to_offline)

    def _means(self) -> Means:
        workspace, config = self._workspace, self._workspace.config
        pace = Pace(config.getint("stream_batch_rows"), config.getfloat("stream_batch_seconds"))
        if pace.rows < 1 or pace.seconds <= 0:
            raise InvalidConfig(
                f"A stream's batch of {pace.rows} messages within {pace.seconds:g} s holds nothing.",
                field="stream_batch_rows" if pace.rows < 1 else "stream_batch_seconds",
                hint="Both must be positive.",
            )
        return Means(
            route=workspace.route,
            group=self._group(),
            source=self._open,
            letters=self._letters,
            staging=str(workspace.home / "staging"),
            max_skew=round(config.getfloat("max_skew") * _SECOND),
            pace=pace,
            options=stream_options(config),
        )

    def _group(self) -> str:
        return self._workspace.config.get("stream_group") or f"tiffin-{self._project}-{self._table}"

    def _open(self, feed: Feed, on_assign: Partitions, on_revoke: Partitions) -> StreamSource:
        options = stream_options(self._workspace.config)
        return open_stream(feed.source, group=self._group(), options=options, on_assign=on_assign, on_revoke=on_revoke)

    def _letters(self, feed: Feed) -> Letters:
        workspace = self._workspace
        chosen = workspace.config.get("stream_dead_letters")
        if chosen.startswith(_TOPIC):
            from tiffin.ingest.stream_letter_topic import LetterTopic
            from tiffin.stream.kafka import open_sink

            topic = chosen.removeprefix(_TOPIC)
            return LetterTopic(open_sink(feed.source, topic=topic, options=stream_options(workspace.config)))
        root = chosen or workspace.folder("deadletter_path", "dead_letters")
        return LetterFiles(root, self._project, self._table)
