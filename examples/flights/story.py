"""The story: define, apply, ingest, train without leaks, materialise, read, a late row, and a model that is served."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter

import polars as pl
from rich.console import Console

from examples.flights import data, features, model
from examples.flights.audit import disagreements
from examples.flights.show import Page, stopwatch
from tiffin import Client

#: Shortly before midnight in New York, an hour before the last report of the weather.
EVENING = datetime(2013, 12, 30, 22, 30, tzinfo=UTC)
#: When the temperature at JFK fell by 13 degrees from one report to the next.
COLD_FRONT = datetime(2013, 4, 10, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
AUDITED = 300


class Story:
    """The demo in one folder, and its model in another. ``rows`` limits the flights that are judged, None takes all."""

    def __init__(self, console: Console, folder: Path, results: Path, *, rows: int | None = None) -> None:
        self.page = Page(console)
        self.folder = folder
        self.results = results
        self.rows = rows
        self.client = Client()

    def tell(self) -> None:
        """All steps."""
        begin = perf_counter()
        self.page.say(f"Every flight that left New York City in 2013. The store lives in {self.folder}")
        with stopwatch() as took:
            self.data = data.load()
        self.page.say(f"[dim]Raw tables read and features computed in {took.seconds:.1f} s, by Polars alone.[/dim]")
        for step in (
            *(self.define, self.apply, self.ingest, self.train, self.materialise, self.read, self.late_row),
            *(self.pipeline, self.predict),
        ):
            step()
        self.page.say("")
        self.page.say(f"All of it took {perf_counter() - begin:.1f} s.")

    def define(self) -> None:
        """Step 1."""
        self.page.step("Define: what features are about, and where they are kept")
        tables = [each for each in features.DEFINITIONS if isinstance(each, features.FeatureTable)]
        self.page.table(
            ("feature table", "keys", "features", "maximum age"),
            (
                (each.name, ", ".join(each.entities), ", ".join(f.name for f in each.features), each.max_age or "-")
                for each in tables
            ),
        )
        self.page.say(
            f"The service [bold]{features.arrival_delay.name}[/bold] is what a model reads: "
            f"{len(features.arrival_delay.features)} features of {len(tables)} tables. See features.py."
        )

    def apply(self) -> None:
        """Step 2."""
        self.page.step("Apply: register all of it in one transaction")
        self.page.code(str(self.client.plan(features.DEFINITIONS)))
        self.client.apply(features.DEFINITIONS)
        again = self.client.plan(features.DEFINITIONS)
        self.page.say(f"Applied. The same again: {again}")
        self.page.code(self.client.get_feature_table("carrier_delays").to_yaml().rstrip())

    def ingest(self) -> None:
        """Step 3."""
        self.page.step("Ingest: validated, and committed as a whole")
        lines = []
        for table in ("weather", "planes", "plane_history", "carrier_delays", "route_delays"):
            with stopwatch() as took:
                commit = self.client.ingest(table, getattr(self.data, table), idempotency_key="nycflights13")
            place = f"{len(commit.partitions)} dates" if commit.partitions else "one folder"
            lines.append((table, commit.rows, place, commit.version, f"{took.seconds:.2f}"))
        self.page.table(("feature table", "rows", "laid out in", "version", "seconds"), lines, numbers=(1, 3, 4))
        self.page.say("Each batch has an idempotency key: sending it again stores nothing.")

    def train(self) -> None:
        """Step 4."""
        self.page.step("Training set: what was known about each flight at its scheduled departure")
        asked = self._flights(self.rows)
        with stopwatch() as took:
            training = self.client.get_historical_features(features.arrival_delay, asked).to_polars()
        if not training.select(asked.columns).equals(asked):
            raise SystemExit("The training set does not have the rows that were asked for.")
        self.page.say(
            f"{asked.height:,} rows asked, [bold]{training.height:,} rows[/bold] answered, the same and in order, with "
            f"{training.width - asked.width} features from 5 tables, in [bold]{took.seconds:.2f} s[/bold]."
        )
        self._show_training(training, asked)
        self._show_boundary(training)
        with stopwatch() as took:
            wrong = disagreements(self.data, training, sample=AUDITED)
        if wrong:
            raise SystemExit(f"The audit disagrees: {wrong[0]}")
        self.page.say(
            f"An audit that knows nothing of joins looked up {min(AUDITED, training.height)} flights one by one: every "
            f"value is that of the latest row at or before departure. ({took.seconds:.1f} s)"
        )

    def _flights(self, rows: int | None = None) -> pl.DataFrame:
        """The first flights, or all: keys, scheduled departure, and whether they came late, if they came."""
        flights = self.data.flights.head(rows) if rows else self.data.flights
        return flights.select(
            "carrier",
            "flight",
            "tailnum",
            "origin",
            "dest",
            pl.col("departure").alias("event_timestamp"),
            (pl.col("arr_delay") > data.LATE_MINUTES).alias("late"),
        )

    def _show_training(self, training: pl.DataFrame, asked: pl.DataFrame) -> None:
        # from autumn, where a history has gathered; from the end of a small sample
        few = training.slice(min(100_000, max(0, training.height - 4)), 4)
        columns = ["weather__temp", "planes__seats", "plane_history__last_arr_delay", "carrier_delays__late_share"]
        departure = pl.col("event_timestamp").dt.strftime("%d %b %H:%M").alias("departure")
        shown = few.select("carrier", "tailnum", "origin", departure, *columns, "late")
        self.page.frame(shown.rename({column: column.partition("__")[2] for column in columns}))
        added = [column for column in training.columns if column not in asked.columns]
        shares = training.select(pl.col(added).is_null().mean() * 100).row(0)
        self.page.say(
            "Nulls are answers too: an hour without gusts, a plane that nobody described, the first flight of a plane."
        )
        pairs = [(name.replace("__", ":"), f"{share:.2f} %") for name, share in zip(added, shares, strict=True)]
        half = (len(pairs) + 1) // 2
        rows = [(*pairs[i], *(pairs[i + half] if i + half < len(pairs) else ("", ""))) for i in range(half)]
        self.page.table(("feature", "null", "feature", "null"), rows, numbers=(1, 3))

    def _show_boundary(self, training: pl.DataFrame) -> None:
        """The same flight asked just before, at, and after a weather report."""
        moment = COLD_FRONT
        report = self.data.weather.row(
            by_predicate=(pl.col("origin") == "JFK") & (pl.col("event_timestamp") == moment), named=True
        )
        asked = pl.DataFrame(
            {
                "moment": ["1 µs before the report", "at the report", "1 µs after it"],
                "origin": ["JFK"] * 3,
                "event_timestamp": [moment - MICROSECOND, moment, moment + MICROSECOND],
            },
            schema_overrides={"event_timestamp": training.schema["event_timestamp"]},
        )
        refs = ["weather:temp", "weather:wind_speed"]
        answer = self.client.get_historical_features(refs, asked).to_polars()
        self.page.say(f"Nothing leaks. JFK reported {report['temp']:.2f} °F at {moment:%Y-%m-%d %H:%M} UTC:")
        self.page.frame(answer.drop("origin"))

    def materialise(self) -> None:
        """Step 5."""
        self.page.step("Materialise: the latest row of every key goes online")
        with stopwatch() as took:
            job = self.client.materialize_incremental()
        self.page.say(f"{job.rows_written:,} rows written in {took.seconds:.2f} s. Again, with nothing new:")
        with stopwatch() as took:
            job = self.client.materialize_incremental()
        self.page.say(f"{job.rows_written:,} rows written in {took.seconds:.2f} s.")

    def read(self) -> None:
        """Step 6."""
        self.page.step("Read: what a model asks while it answers")
        flights = [
            {"carrier": "UA", "tailnum": "N14228", "origin": "EWR", "dest": "IAH"},
            {"carrier": "UA", "tailnum": "N14228", "origin": "EWR", "dest": "IAH", "event_timestamp": EVENING},
            {"carrier": "UA", "tailnum": "N00000", "origin": "EWR", "dest": "IAH", "event_timestamp": EVENING},
        ]
        answer = self.client.get_online_features(features.arrival_delay, flights)
        values, statuses = answer.to_dict(), answer.statuses()
        chosen = ("weather:temp", "weather:wind_gust", "planes:seats", "plane_history:last_arr_delay")
        self.page.table(
            ("feature", "N14228 now", "N14228, 30 Dec 2013", "N00000, the same"),
            (
                (name, *(f"{_text(value)} [dim]{status}[/dim]" for value, status in zip(*pair, strict=True)))
                for name, pair in ((name, (values[name], statuses[name])) for name in chosen)
            ),
        )
        self.page.say(
            "Today a report of 2013 is too old, and is not given; a request may say for which instant it asks. A plane "
            "that nobody knows is not found; the weather at its airport still is."
        )
        spent = self._time_reads(features.arrival_delay, flights[1:2])
        small = self._time_reads(["plane_history:last_arr_delay"], [{"tailnum": "N14228"}])
        self.page.say(
            f"One read of a flight's 13 features from 5 tables: [bold]{spent:.0f} µs[/bold]; of one feature: "
            f"[bold]{small:.0f} µs[/bold] (medians of 2,000, in this process)."
        )

    def _time_reads(self, wanted: object, rows: list[dict[str, object]]) -> float:
        spent = []
        for _ in range(2_000):
            begin = perf_counter()
            self.client.get_online_features(wanted, rows)
            spent.append(perf_counter() - begin)
        return median(spent) * 1e6

    def late_row(self) -> None:
        """Step 7."""
        self.page.step("A late row: it takes its place in the past, and loses to what is newer")
        last = self.data.weather.filter(pl.col("origin") == "JFK").sort("event_timestamp").tail(1)
        moment = last["event_timestamp"][0]
        late = pl.concat(
            [
                _report(last, at=moment - timedelta(minutes=30), temp=31.0),
                _report(last.with_columns(origin=pl.lit("LGA")), at=moment + timedelta(hours=1), temp=28.0),
            ]
        )
        commit = self.client.ingest("weather", late)
        job = self.client.materialize_incremental("weather")
        rows = [{"origin": origin, "event_timestamp": moment + timedelta(hours=1)} for origin in ("JFK", "LGA")]
        answer = self.client.get_online_features(["weather:temp"], rows)
        self.page.say(
            f"Two rows come in with commit {commit.version}: one for JFK, half an hour older than what is online, and "
            f"one for LGA, an hour newer. Materialising looks at that commit alone: {job.rows_written} written, "
            f"{job.rows_skipped} skipped."
        )
        self.page.table(
            ("airport", "online temperature", "event time"),
            zip(
                answer.to_dict()["origin"],
                answer.to_dict()["weather:temp"],
                answer.event_timestamps()["weather:temp"],
                strict=True,
            ),
        )
        asked = pl.DataFrame({"origin": ["JFK"], "event_timestamp": [moment - timedelta(minutes=10)]})
        past = self.client.get_historical_features(["weather:temp"], asked).to_polars()["weather__temp"][0]
        self.page.say(
            f"A training row of ten minutes before that newest report sees the late one, as it should: {past:.2f} °F."
        )

    def pipeline(self) -> None:
        """Step 8."""
        self.page.step("Pipeline: retrieve, train, evaluate, serve - the steps that run on Kubeflow, as processes")
        self.made = model.train(self.page, self.client.config.home, self.results, self._flights(self.rows))

    def predict(self) -> None:
        """Step 9."""
        self.page.step("Predict: a model server that is asked with keys")
        model.predict(self.page, self.client.config.home, self.made, self._flights(), EVENING)


def _report(report: pl.DataFrame, *, at: datetime, temp: float) -> pl.DataFrame:
    """A report like another one, of another time and temperature."""
    time = pl.lit(at).cast(pl.Datetime("us", "UTC"))
    return report.with_columns(event_timestamp=time, created_timestamp=time, temp=pl.lit(temp, dtype=pl.Float32))


def _text(value: object) -> str:
    return "-" if value is None else f"{value:.1f}" if isinstance(value, float) else str(value)
