"""What the models of this project know about drivers. `tiffin apply` registers all of it."""

from tiffin import Entity, Feature, FeatureService, FeatureTable, FileSource, ValueType
from tiffin.data_format import ParquetFormat

driver = Entity("driver_id", description="A driver, by number.", value_type=ValueType.INT64)

driver_statistics = FeatureTable(
    name="driver_statistics",
    description="How each driver did, once a day.",
    entities=["driver_id"],
    features=[
        Feature("trips_today", ValueType.INT32, description="Trips finished that day."),
        Feature("acceptance_rate", ValueType.FLOAT, description="Requests accepted, from 0 to 1."),
        Feature("rating", ValueType.FLOAT, description="Mean of the stars given by riders, from 1 to 5."),
    ],
    # Where the history lives. `tiffin ingest` appends to it; any tool that reads Parquet can read it.
    batch_source=FileSource(
        event_timestamp_column="event_timestamp",
        created_timestamp_column="created",
        file_format=ParquetFormat(),
        file_url="history/driver_statistics",
    ),
    # With max_age=timedelta(days=2), older values would be null in training and read OUTSIDE_MAX_AGE online. The sample
    # data is of September 2024, so there is no limit here.
    max_age=None,
    labels={"team": "marketplace"},
    owner="marketplace@example.com",
)

# A model names its service, not its features: what it reads can then change in one place.
trip_completion = FeatureService(
    name="trip_completion",
    description="Will the trip be completed?",
    features=[
        "driver_statistics:trips_today",
        "driver_statistics:acceptance_rate",
        "driver_statistics:rating",
    ],
)
