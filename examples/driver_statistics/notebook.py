"""The article's notebook on one folder of this machine: ``python examples/driver_statistics/notebook.py [FOLDER]``.

The cells between "article" marks are the article's Python as printed, but for ``feast`` -> ``tiffin`` in imports, the
names of buckets, and faults of typesetting (joined lines, curly quotes, imports that an earlier cell held). The cells
marked "here" stand for what the article does outside Python: making a bucket, having data.
"""

# The article's spelling is kept, so neither the formatter nor these rules apply.
# ruff: noqa: B018, E401, E402, E501, F401, F811, I001, PTH118
# fmt: off

# %% here: a folder instead of Google Cloud, the data of data.py, and the settings that keep everything in the folder
import shutil
import sys
import tempfile
from pathlib import Path

import data

folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="tiffin-article-")).absolute()
buckets = f"file://{folder}"
folder.mkdir(parents=True, exist_ok=True)
shutil.copy(Path(__file__).with_name("tiffin.toml"), folder / "tiffin.toml")
data.write_entities(folder / "feast_data_source" / "data" / "entity.csv")
stats_df = data.statistics()

import os
os.chdir(folder)

# %% article: connect
import os,json
from tiffin import Client, Feature, Entity, ValueType, FeatureTable
from tiffin.data_source import FileSource, KafkaSource
from tiffin.data_format import ParquetFormat, AvroFormat
import random
staging_bucket = f'{buckets}/feast-staging-bucket-{random.randint(1000000, 10000000)}/'
staging_bucket
client = Client(core_url="feast-release-feast-core.aniruddha-choudhury.svc.cluster.local:6565",
serving_url="feast-release-feast-online-serving.aniruddha-choudhury.svc.cluster.local:6566",
spark_launcher="k8s",
spark_staging_location=staging_bucket,
spark_k8s_namespace="spark-operator",
redis_host="feast-release-redis-headless.aniruddha-choudhury.svc.cluster.local:6379",
historical_feature_output_location=f"{staging_bucket}historical",
)

# %% article: entity and features
driver_id = Entity(name="driver_id", description="Driver identifier", value_type=ValueType.INT64)
# Daily updated features
acc_rate = Feature("acc_rate", ValueType.FLOAT)
conv_rate = Feature("conv_rate", ValueType.FLOAT)
avg_daily_trips = Feature("avg_daily_trips", ValueType.INT32)
fare_amount = Feature("fare_amount", ValueType.INT32)
sales_status = Feature("sales_status", ValueType.INT32)

# %% article: feature table
# Offline data will be stored in this location
demo_data_location = os.path.join(os.getenv("FEAST_SPARK_STAGING_LOCATION", staging_bucket), "test_data")
driver_statistics_source_uri = os.path.join(demo_data_location, "driver_statistics")
driver_statistics = FeatureTable(
name = "driver_statistics",
entities = ["driver_id"],
features = [
acc_rate,
conv_rate,
avg_daily_trips,
fare_amount,
sales_status
],
batch_source=FileSource(
event_timestamp_column="datetime",
created_timestamp_column="created",
file_format=ParquetFormat(),
file_url=driver_statistics_source_uri,
date_partition_column="date"
)
)

# %% article: register
client.apply(driver_id)
client.apply(driver_statistics)
print(client.get_feature_table("driver_statistics").to_yaml())

# %% article: fill the batch source
client.ingest(driver_statistics, stats_df)

# %% article: the imports of the second notebook; pandas, entities and Config are used there but not imported in print
import gcsfs
import pandas as pd
from pyarrow.parquet import ParquetDataset
from urllib.parse import urlparse
import os,json
from tiffin import Client, Feature, Entity, ValueType, FeatureTable
from tiffin.data_source import FileSource, KafkaSource
from tiffin.data_format import ParquetFormat, AvroFormat
from tiffin.config import Config
from tiffin.staging import entities

# %% here: the article calls read_parquet without printing it; it reads the job's part files
def read_parquet(uri):
    parsed_uri = urlparse(uri)
    if parsed_uri.scheme == "file":
        files = [str(path) for path in sorted(Path(parsed_uri.path).glob("part-*"))]
        return ParquetDataset(files).read().to_pandas()
    fs = gcsfs.GCSFileSystem()
    files = ["gs://" + path for path in fs.glob(uri + "/part-*")]
    return ParquetDataset(files, filesystem=fs).read().to_pandas()

# %% article: historical features
features={"Features":[
"driver_statistics:avg_daily_trips",
"driver_statistics:conv_rate",
"driver_statistics:acc_rate",
"driver_statistics:fare_amount",
"driver_statistics:sales_status"
]}
entity_bucket=f"{buckets}/feast_data_source/data/entity.csv"
entities_with_timestamp=pd.read_csv(entity_bucket)
entities_with_timestamp["event_timestamp"]=pd.to_datetime(entities_with_timestamp["event_timestamp"])
client = Client(
core_url="feast-release-feast-core.aniruddha-choudhury.svc.cluster.local:6565",
serving_url="feast-release-feast-online-serving.aniruddha-choudhury.svc.cluster.local:6566",
spark_launcher="k8s",
spark_staging_location=staging_bucket,
spark_k8s_namespace="spark-operator",
redis_host="feast-release-redis-headless.aniruddha-choudhury.svc.cluster.local:6379", historical_feature_output_location=f"{staging_bucket}historical")
job = client.get_historical_features(feature_refs=features['Features'] ,entity_source= entities.stage_entities_to_fs(entity_source=entities_with_timestamp, staging_location=staging_bucket,config= Config))
# get_output_file_uri will block until the Spark job is completed.
output_file_uri = job.get_output_file_uri()
features_outcome=read_parquet(output_file_uri)
print(features_outcome)

# %% here: what the article's text goes on to describe: fill the online store and read from it
from datetime import UTC, datetime

first, last = datetime(2020, 9, 1, tzinfo=UTC), datetime(2020, 10, 1, tzinfo=UTC)
job = client.start_offline_to_online_ingestion(driver_statistics, first, last)
job.wait()
online = client.get_online_features(
    feature_refs=features["Features"], entity_rows=[{"driver_id": 1001}, {"driver_id": 1002}, {"driver_id": 9999}]
)
print(online.to_dict())
print({name: [str(status) for status in found] for name, found in online.statuses().items()})
