"""The last steps of the story: from the store's features to a model, and from a served model to predictions."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from examples.flights import features
from examples.flights.show import Page, stopwatch
from tiffin.pipeline import chain
from tiffin.pipeline.local_server import LocalServer
from tiffin.pipeline.model import Model
from tiffin.pipeline.parameters import Parameters

NAME = "late_flights"
#: What a model must be worth to be served: half is what a coin reaches.
GATE = "auc>=0.6"


def train(page: Page, home: Path, folder: Path, asked: pl.DataFrame) -> chain.Made:
    """Retrieve, train, evaluate and serve, each step a process of its own, on flights with their labels."""
    entities = folder / "flights.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    asked.write_parquet(entities)
    parameters = Parameters.of(
        {
            "feature_service": features.arrival_delay.name,
            "entity_bucket": str(entities),
            "target_name": "late",
            "split": "time",
            "epochs": 4,
            "batch_size": 1024,
            "shuffle_size": 100_000,
            "learning_rate": 0.003,
            "classes": "on time,late",
            "serving_name": NAME,
            "gate": GATE,
        }
    )
    with stopwatch() as took:
        made = chain.run(
            parameters, folder, options=[f"home={home}"], tell=lambda step, line: page.log(f"{step:9} {line}")
        )
    page.say(
        f"Learned from the flights until autumn, judged by those after them, and kept to [bold]{GATE}[/bold]: area "
        f"under the curve [bold]{made.metrics['auc']:.3f}[/bold], accuracy {made.metrics['accuracy-score']:.3f} where "
        f"{1 - made.metrics['share-of-ones']:.3f} would come from saying that no flight is late. ({took.seconds:.1f} s)"
    )
    page.say("What was made:")
    card = Model.load(str(made.model)).card
    page.table(
        ("", "where"),
        [
            ("report with its plots", made.report),
            (f"model, {len(card.features)} features", made.model / "model.onnx"),
            ("events for TensorBoard", made.logs),
            ("training and validation rows", made.dataset),
        ],
    )
    return made


def predict(page: Page, home: Path, made: chain.Made, flights: pl.DataFrame, moment: datetime) -> None:
    """Ask a model server for the flights of one evening, by their keys alone."""
    soon = flights.filter(pl.col("event_timestamp").is_between(moment, moment + timedelta(hours=4)))
    keys = soon.select("carrier", "tailnum", "origin", "dest", event_timestamp=pl.lit(moment.isoformat()))
    with LocalServer(str(made.model), options={"home": str(home)}) as server:
        server.check(NAME)
        with stopwatch() as took:
            told = server.predict(NAME, keys.to_dicts())
    ranked = sorted(zip(soon.iter_rows(named=True), told, strict=True), key=lambda each: -each[1]["probability"])
    page.say(f"POST {server.url}/v1/models/{NAME}:predict, with keys and nothing else:")
    page.table(
        ("flight", "route", "tail number", "predicted", "probability of late", "guessed features", "was"),
        (
            (
                f"{row['carrier']} {row['flight']}",
                f"{row['origin']} - {row['dest']}",
                row["tailnum"],
                each["class"],
                each["probability"],
                ", ".join(name.partition(":")[2] for name in each["imputed"]) or "-",
                "late" if row["late"] else "on time",
            )
            for row, each in [*ranked[:4], *ranked[-3:]]
        ),
        numbers=(4,),
    )
    page.say(
        f"{len(told)} predictions in {took.seconds * 1000:.0f} ms; shown are the flights likeliest to be late, and the "
        "least likely. The server read the features as of that evening, and put them through the scaler, the order and "
        "the threshold that are in the model's file."
    )
