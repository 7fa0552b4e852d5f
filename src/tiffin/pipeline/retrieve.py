"""retrieve: features and labels of entity rows, point-in-time correct, as training and validation rows.

python -m tiffin.pipeline.retrieve --json-bucket features.json --entity-bucket entity.csv --staging-bucket staging/
    --target-name driver_statistics__sales_status [--split-size 0.2] [--split share] [--seed 0] [--output FOLDER]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import polars as pl

from tiffin.client import Client
from tiffin.errors import InvalidArgument, InvalidData, closest
from tiffin.ingest.digest import digest
from tiffin.pipeline import arguments, files
from tiffin.pipeline.arguments import say
from tiffin.pipeline.dataset import About, Dataset
from tiffin.pipeline.matrix import NUMERIC
from tiffin.pipeline.split import SPLITS, check, split_rows
from tiffin.refs import FeatureRef

#: The column of instants of an entity source.
EVENT = "event_timestamp"


def retrieve(
    client: Client,
    features: Sequence[str] | str,
    entities: Any,
    target: str,
    *,
    staging: str | None = None,
    split: str = "share",
    size: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Join features to entity rows as they were known at each row's time, and split the rows.

    ``features`` are references or the name of a feature service; ``entities`` a frame, or a path or URI of CSV or
    Parquet with the keys and ``event_timestamp``. ``target`` is the column to learn: one of the features, such as
    ``driver_statistics__sales_status``, or a column of the entity rows. The target is never a feature of the model;
    rows without one are left out and counted. ``staging`` is a folder or bucket where the joined rows are kept, too.
    Everything that can be wrong is raised before any row is read.
    """
    check(split, size)
    references = _references(client, features)
    of_features = [each for each in references if each.column == target]
    learned = [each for each in references if each.column != target]
    if not learned:
        raise InvalidArgument(
            f"Without the target {target!r} no feature is left to learn from.", field="features", hint="Name more."
        )
    keys = _keys(client, references)
    _check_types(client, [*learned, *of_features])
    location = files.join(staging, "historical") if staging else None
    job = client.get_historical_features([str(each) for each in references], entities, location)
    frame = job.to_polars()
    if target not in frame.columns:
        raise InvalidArgument(
            f"The target {target!r} is neither a feature that was asked for nor a column of the entity rows.",
            field="target_name",
            hint=closest(target, frame.columns),
        )
    known = frame.filter(pl.col(target).is_not_null())
    about = About(
        project=client.project,
        features=tuple(str(each) for each in learned),
        entities=keys,
        target=target,
        event=EVENT,
        split=split,
        size=size,
        seed=seed,
        dropped=frame.height - known.height,
        hash=_hash(known, [*keys, EVENT, *(each.column for each in learned), target]),
    )
    if not known.height:
        raise InvalidData(
            f"None of the {frame.height} rows has a value of the target {target!r}.",
            field="target_name",
            hint="Are the entity rows' times after the first events of its table?",
        )
    _check_filled(known, learned)
    return Dataset(about, *split_rows(known, split=split, size=size, seed=seed, keys=list(keys), event=EVENT))


def read_features(uri: str) -> list[str]:
    """The references in a file: ``{"Features": [...]}`` or a list of them."""
    content = files.read(uri)
    try:
        document = msgspec.json.decode(content, type=_Features | list[str])
    except msgspec.DecodeError as error:
        raise InvalidData(
            f"{uri!r} does not list features: {error}.",
            field="json_bucket",
            hint='Write {"Features": ["table:feature"]}, or a list.',
        ) from error
    return document.features if isinstance(document, _Features) else document


class _Features(msgspec.Struct):
    features: list[str] = msgspec.field(name="Features")


def _references(client: Client, features: Sequence[str] | str) -> list[FeatureRef]:
    if isinstance(features, str) and ":" not in features:
        read = [FeatureRef.from_str(str(each)) for each in client.get_feature_service(features).refs]
    else:
        read = [FeatureRef.from_str(each) for each in ([features] if isinstance(features, str) else features)]
    return list(dict.fromkeys(read))


def _keys(client: Client, references: Sequence[FeatureRef]) -> dict[str, str]:
    """The names of the keys of all tables, in the order of the request, with the names of their types."""
    found: dict[str, str] = {}
    for table, project in dict.fromkeys((each.feature_table, each.project) for each in references):
        for name in client.get_feature_table(table, project).entities:
            found.setdefault(name, client.get_entity(name, project).value_type.name)
    return found


def _check_types(client: Client, references: Sequence[FeatureRef]) -> None:
    for each in references:
        table = client.get_feature_table(each.feature_table, each.project)
        dtype = next((feature.dtype for feature in table.features if feature.name == each.name), None)
        if dtype is not None and dtype not in NUMERIC:
            raise InvalidArgument(
                f"{str(each)!r} is {dtype.name}: a model of this pipeline takes numbers and truth values.",
                field="features",
                hint="Leave it out, or register a feature that encodes it as a number.",
            )


def _check_filled(frame: pl.DataFrame, learned: Sequence[FeatureRef]) -> None:
    """Refuse features without a value in any row: a source that lies elsewhere would pass for one without rows."""
    empty = [str(each) for each in learned if frame[each.column].null_count() == frame.height]
    if empty:
        raise InvalidData(
            f"No row has a value of {', '.join(empty)}: there is nothing to learn from that.",
            field="features",
            hint="Are the sources of their tables filled, and where this machine looks for them (relative paths are "
            "meant from the folder of the store)? Else leave these features out.",
        )


def _hash(frame: pl.DataFrame, columns: Sequence[str]) -> str:
    """The hash of what a model learns from, in the order of the rows; other columns do not count."""
    rows = frame.select(columns)
    return f"{digest([rows], rows.schema):016x}"


def parser() -> arguments.Parser:
    """The step's arguments, those of the article first."""
    made = arguments.Parser(prog="tiffin.pipeline.retrieve", description=str(__doc__).partition("\n")[0])
    made.add_argument("--staging-bucket", default="", help="folder or bucket for the joined rows")
    made.add_argument("--json-bucket", default="", help="file that lists the features")
    made.add_argument("--feature-service", default="", help="name of a feature service; goes before a file")
    made.add_argument("--entity-bucket", required=True, help="CSV or Parquet with keys and event_timestamp")
    made.add_argument("--target-name", required=True, help="the column to learn, such as table__feature")
    made.add_argument("--split-size", type=float, default=0.2, help="share of rows to judge by (default: 0.2)")
    made.add_argument("--split", choices=SPLITS, default="share", help="at random, or the latest (default: share)")
    made.add_argument("--seed", type=int, default=0, help="of the random split (default: 0)")
    made.add_argument("--output", default="/mnt/dataset", help="folder for the dataset (default: /mnt/dataset)")
    made.add_client_options()
    return made


def step(given: argparse.Namespace) -> None:
    """Retrieve as the arguments say, and save the dataset."""
    if not (given.json_bucket or given.feature_service):
        raise InvalidArgument(
            "Features come from a feature service or from a file: neither is given.",
            field="json_bucket",
            hint="Give --feature-service or --json-bucket.",
        )
    with Client(arguments.client_options(given)) as client:
        dataset = retrieve(
            client,
            given.feature_service or read_features(given.json_bucket),
            given.entity_bucket,
            given.target_name,
            staging=given.staging_bucket or None,
            split=given.split,
            size=given.split_size,
            seed=given.seed,
        )
    dataset.save(given.output)
    about = dataset.about
    say(f"{len(about.features)} features of {', '.join(about.entities)}; the target is {about.target}.")
    say(
        f"{dataset.training.height} rows to learn from and {dataset.validation.height} to judge by, split by "
        f"{about.split}."
    )
    if about.dropped:
        say(f"{about.dropped} rows have no target and were left out.")
    say(f"Saved in {given.output}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step; its exit code."""
    return arguments.run(step, parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
