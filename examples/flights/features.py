"""The definitions of the flights demo: ``tiffin apply -f examples/flights/features.py`` registers them.

The weather has a source of its own, a folder that is laid out by date and that other tools can read too. The other
tables name none, so each gets a folder in the store.
"""

from __future__ import annotations

from datetime import timedelta

from tiffin import Entity, Feature, FeatureService, FeatureTable, FileSource, ValueType
from tiffin.data_format import ParquetFormat

origin = Entity("origin", "Airport of departure: EWR, JFK or LGA", ValueType.STRING)
dest = Entity("dest", "Airport of arrival, by its FAA code", ValueType.STRING)
carrier = Entity("carrier", "Airline, by its two-letter code", ValueType.STRING)
tailnum = Entity("tailnum", "Plane, by its tail number", ValueType.STRING)

weather = FeatureTable(
    name="weather",
    entities=["origin"],
    features=[
        Feature("temp", ValueType.FLOAT, description="degrees Fahrenheit"),
        Feature("wind_speed", ValueType.FLOAT, description="miles an hour"),
        Feature("wind_gust", ValueType.FLOAT, description="miles an hour"),
        Feature("precip", ValueType.FLOAT, description="inches in the hour"),
        Feature("visib", ValueType.FLOAT, description="miles"),
        Feature("pressure", ValueType.FLOAT, description="millibars; often missing"),
    ],
    batch_source=FileSource(
        event_timestamp_column="event_timestamp",
        created_timestamp_column="created_timestamp",
        file_format=ParquetFormat(),
        file_url="data/weather",  # from the folder that holds the store
        date_partition_column="date",
    ),
    max_age=timedelta(hours=3),
    description="Hourly reports of the three airports. After three hours a report says nothing any more.",
)

planes = FeatureTable(
    name="planes",
    entities=["tailnum"],
    features=[
        Feature("built", ValueType.INT32, description="year of manufacture; unknown for a few"),
        Feature("manufacturer", ValueType.STRING),
        Feature("model", ValueType.STRING),
        Feature("engines", ValueType.INT32),
        Feature("seats", ValueType.INT32),
    ],
    description="What does not change about a plane.",
)

plane_history = FeatureTable(
    name="plane_history",
    entities=["tailnum"],
    features=[
        Feature("last_arr_delay", ValueType.INT32, description="minutes, of the latest arrival"),
        Feature("last_dest", ValueType.STRING),
        Feature("mean_delay_7d", ValueType.FLOAT, description="minutes, over the arrivals of the past 7 days"),
    ],
    description="One row an arrival, known from the minute the plane reached the gate.",
)

carrier_delays = FeatureTable(
    name="carrier_delays",
    entities=["carrier"],
    features=[
        Feature("mean_delay", ValueType.FLOAT, description="minutes, over the arrivals of the past 24 hours"),
        Feature("late_share", ValueType.FLOAT, description="share of them more than 15 minutes late"),
        Feature("arrivals", ValueType.INT32),
    ],
    max_age=timedelta(days=1),
    description="Computed every hour from the arrivals before it.",
)

route_delays = FeatureTable(
    name="route_delays",
    entities=["origin", "dest"],
    features=[
        Feature("mean_delay", ValueType.FLOAT, description="minutes, over the arrivals of the past 7 days"),
        Feature("late_share", ValueType.FLOAT, description="share of them more than 15 minutes late"),
        Feature("arrivals", ValueType.INT32),
    ],
    max_age=timedelta(days=2),
    description="Computed every midnight (UTC) from the arrivals before it.",
)

arrival_delay = FeatureService(
    name="arrival_delay",
    features=[
        "weather:temp",
        "weather:wind_speed",
        "weather:wind_gust",
        "weather:precip",
        "weather:visib",
        "planes:built",
        "planes:seats",
        "plane_history:last_arr_delay",
        "plane_history:mean_delay_7d",
        "carrier_delays:mean_delay",
        "carrier_delays:late_share",
        "route_delays:mean_delay",
        "route_delays:late_share",
    ],
    description="What the model reads that judges whether a flight will be more than 15 minutes late.",
)

DEFINITIONS = [
    origin,
    dest,
    carrier,
    tailnum,
    weather,
    planes,
    plane_history,
    carrier_delays,
    route_delays,
    arrival_delay,
]
