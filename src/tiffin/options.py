"""Options: every setting that Tiffin reads, as one table of names, kinds, defaults and meanings."""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

from tiffin.errors import InvalidConfig, closest

Kind = Literal["text", "path", "flag", "integer", "number", "size"]


class Option(NamedTuple):
    """One setting. Values are kept as texts; an empty text means that nothing was chosen.

    ``secret`` values are never shown. ``server`` marks the address or kind of a server, which ``embedded`` ignores.
    """

    name: str
    kind: Kind
    default: str
    description: str
    secret: bool = False
    server: bool = False


_TABLE: Final = (
    Option("project", "text", "default", "the project that calls mean when they name none"),
    Option("home", "path", "", "folder of the embedded registry, offline and online stores"),
    Option(
        "embedded", "flag", "false", "ignore servers named in arguments, so that a program runs on a laptop unchanged"
    ),
    # Servers
    Option(
        "core_url", "text", "", "host:port or URL of the registry service; empty for an embedded registry", server=True
    ),
    Option("core_enable_ssl", "flag", "false", "speak TLS to the registry service"),
    Option("core_server_ssl_cert", "path", "", "certificate that the registry service is verified with"),
    Option("serving_url", "text", "", "host:port or URL of the online service", server=True),
    Option("serving_enable_ssl", "flag", "false", "speak TLS to the online service"),
    Option("serving_server_ssl_cert", "path", "", "certificate that the online service is verified with"),
    Option("job_service_url", "text", "", "host:port of the job service", server=True),
    Option("grpc_connection_timeout", "number", "10", "seconds to wait for a connection to a service"),
    Option("enable_auth", "flag", "false", "send credentials to the services"),
    Option("auth_provider", "text", "", "who issues credentials: google or oauth"),
    Option("auth_token", "text", "", "bearer token that is sent to the services", secret=True),
    Option("oauth_grant_type", "text", "", "grant type of the token request"),
    Option("oauth_client_id", "text", "", "client of the token request"),
    Option("oauth_client_secret", "text", "", "secret of the token request", secret=True),
    Option("oauth_audience", "text", "", "audience of the token request"),
    Option("oauth_token_request_url", "text", "", "where tokens are requested"),
    Option("oauth_server_ssl_cert", "path", "", "certificate that the token server is verified with"),
    # What services tell of themselves
    Option("log_format", "text", "", "json or plain; empty writes plain lines to a terminal and JSON elsewhere"),
    Option("log_level", "text", "INFO", "the least of what services log: DEBUG, INFO, WARNING or ERROR"),
    Option(
        "access_log",
        "number",
        "",
        "share of answered requests that are logged, 0 to 1; faults always; empty: 1 for core, 0 for online",
    ),
    Option("trace_endpoint", "text", "", "OTLP/HTTP collector that traces are sent to, such as http://collector:4318"),
    Option("trace_share", "number", "1", "share of traces that are kept, of those that begin in a service"),
    # Registry, offline and online stores
    Option("registry", "text", "", "URL of the registry's database, such as sqlite:////path/registry.db", server=True),
    Option(
        "registry_auto_migrate",
        "flag",
        "true",
        "create or migrate the registry's schema when it is opened; false leaves that to tiffin registry migrate",
    ),
    Option("offline_store", "text", "polars", "engine of point-in-time joins"),
    Option(
        "online_store", "text", "", "URI of the online store, such as lmdb:///path or redis://host:6379/0", server=True
    ),
    Option(
        "offline_location",
        "text",
        "",
        "folder or bucket for the histories of tables without a batch source; needed where the registry is shared",
    ),
    Option(
        "memory_budget", "size", "", "memory that one join or materialisation may hold, such as 2GB; empty for no bound"
    ),
    Option("historical_feature_output_location", "text", "", "folder or bucket that training sets are written to"),
    Option("historical_feature_output_format", "text", "parquet", "format of training sets"),
    Option("staging_location", "text", "", "folder or bucket for files that only travel"),
    Option("deadletter_path", "text", "", "folder or bucket that invalid rows are set aside in"),
    Option("ingestion_drop_invalid_rows", "flag", "false", "set invalid rows aside instead of refusing their batch"),
    Option("redis_host", "text", "", "host or host:port of Redis, as the online store", server=True),
    Option("redis_port", "integer", "6379", "port of Redis, where redis_host names none"),
    Option("redis_ssl", "flag", "false", "speak TLS to Redis"),
    Option("redis_password", "text", "", "password of Redis", secret=True),
    Option("online_expiry_grace", "number", "86400", "seconds that an online row is held beyond its max age"),
    Option("max_skew", "number", "60", "seconds that pushed rows may lie in the future"),
    Option("s3_endpoint_url", "text", "", "endpoint of an S3-compatible object store"),
    Option("azure_blob_account_name", "text", "", "account of Azure Blob Storage"),
    Option("azure_blob_account_access_key", "text", "", "key of the Azure account", secret=True),
    # Streams
    Option(
        "kafka_security_protocol", "text", "", "how brokers are spoken to: plaintext, ssl, sasl_plaintext, sasl_ssl"
    ),
    Option("kafka_sasl_mechanism", "text", "", "how callers prove who they are: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"),
    Option("kafka_sasl_username", "text", "", "user of Kafka"),
    Option("kafka_sasl_password", "text", "", "password of Kafka", secret=True),
    Option("kafka_ssl_ca_location", "path", "", "certificates that brokers are verified with"),
    Option("kafka_ssl_certificate_location", "path", "", "certificate that the client shows to brokers"),
    Option("kafka_ssl_key_location", "path", "", "key of that certificate"),
    Option("kafka_ssl_key_password", "text", "", "password of that key", secret=True),
    Option("kafka_queue_size", "size", "64MB", "messages that wait in memory for one stream"),
    Option("kafka_options", "text", "", "further properties of the Kafka client, as a JSON object", secret=True),
    Option("stream_group", "text", "", "consumer group of streams; empty: one for each table"),
    Option("stream_batch_rows", "integer", "50000", "messages that a stream stores at once, at most"),
    Option(
        "stream_batch_seconds", "number", "0.25", "seconds for which a stream gathers messages before it stores them"
    ),
    Option(
        "stream_dead_letters",
        "text",
        "",
        "where refused messages of streams go: a folder or bucket, or topic:NAME; empty: where invalid rows go",
    ),
    Option(
        "schema_registry_url", "text", "", "schema registry of Avro messages; empty: all are as the source declares"
    ),
    Option("schema_registry_server_ssl_cert", "path", "", "certificate that the schema registry is verified with"),
    Option("schema_registry_auth", "text", "", "user:password of the schema registry", secret=True),
    # Access control of the services
    Option("auth", "text", "none", "how the services know their callers: none, tokens, oidc, or tokens,oidc"),
    Option("allow_anonymous", "flag", "false", "let services without access control listen beyond the loopback"),
    Option("serving_max_body", "size", "16MB", "bytes that the body of a request to a service may have"),
    Option("serving_max_rows", "integer", "10000", "rows that one online request may ask for"),
    Option("serving_max_features", "integer", "2000", "features that one online request may ask for"),
    Option("serving_max_requests", "integer", "1024", "requests that a worker answers at once; more are told to wait"),
    Option("serving_max_writes", "integer", "4", "pushes and materialisations that one worker does at once"),
    Option("serving_timeout", "number", "10", "seconds within which an online request is answered or given up"),
    Option("serving_write_timeout", "number", "600", "seconds after which a push or materialisation is given up"),
    Option("core_timeout", "number", "60", "seconds within which the registry service answers a request or gives up"),
    Option("serving_head_timeout", "number", "10", "seconds within which the head of a request must arrive"),
    Option("serving_keep_alive", "number", "75", "seconds for which a service keeps a quiet connection open"),
    Option("serving_grace", "number", "30", "seconds that a stopping service gives to the requests it has received"),
    # The model server
    Option("model", "text", "", "folder, on a disk or bucket, of the model that the model server answers with"),
    Option("served_log", "path", "", "folder for what the model server has served; empty: in the home"),
    Option("served_log_share", "number", "0.01", "share of predictions that are kept there, from 0 to 1"),
    Option("served_log_days", "number", "30", "days that they are kept; empty for ever"),
    Option("metrics_auth", "flag", "false", "ask for a reader of every project before /metrics is shown"),
    Option(
        "access_max_age",
        "number",
        "",
        "seconds that known tokens are trusted while the registry is away; empty for as long as it takes",
    ),
    # Files of histories
    Option(
        "compact_after",
        "integer",
        "64",
        "files of about one size in one partition of a history after which writers merge them; 0 for never",
    ),
    Option("compact_target", "size", "64MiB", "size of the files that tiffin compact merges others into"),
    Option(
        "vacuum_retention_days",
        "number",
        "7",
        "days that files are kept which a history has no use of any more; empty for ever, but for tiffin compact",
    ),
    Option(
        "log_retention_days",
        "number",
        "",
        "days that tiffin compact --vacuum keeps in the logs of histories, further back than which known_at cannot "
        "look; empty for ever",
    ),
    # What runs by itself
    Option("control_loop", "flag", "false", "the registry service also keeps streams running and runs schedules"),
    Option("control_every", "number", "2", "seconds between two looks of a controller at what runs"),
    Option("control_lease", "number", "15", "seconds after which another controller follows one that has died"),
    Option("control_grace", "number", "60", "seconds that a stopping controller gives its jobs for their batches"),
    Option("jobs_retention_days", "number", "90", "days that ended jobs and their logs are kept; empty for ever"),
    Option("audit_retention_days", "number", "", "days that the audit log is kept; empty for ever"),
    Option("oidc_issuer", "text", "", "issuer of the JSON web tokens that are admitted"),
    Option("oidc_audience", "text", "", "audience that these tokens must name"),
    Option("oidc_jwks", "text", "", "URL or file of the issuer's public keys; empty asks the issuer where they are"),
    Option("oidc_algorithms", "text", "RS256,ES256,EdDSA", "signatures that are accepted"),
    Option("oidc_leeway", "number", "30", "seconds by which clocks may differ"),
    Option("oidc_name_claim", "text", "sub", "the claim that names the caller"),
    Option("oidc_roles_claim", "text", "tiffin_roles", 'the claim that holds roles, as {"project": "reader"}'),
    Option("oidc_groups_claim", "text", "groups", "the claim that holds groups, where oidc_group_roles is set"),
    Option("oidc_group_roles", "text", "", 'roles of groups, as JSON: {"group": {"project": "reader"}}'),
    # Work that runs elsewhere
    Option(
        "spark_launcher", "text", "", "what launches Spark jobs: standalone or k8s; empty runs jobs here", server=True
    ),
    Option("spark_standalone_master", "text", "local[*]", "master of a standalone Spark"),
    Option("spark_home", "path", "", "folder of a Spark installation"),
    Option("spark_ingestion_jar", "text", "", "accepted for programs written for Feast; Tiffin needs no jar"),
    Option("spark_k8s_namespace", "text", "default", "Kubernetes namespace of Spark jobs"),
    Option("spark_k8s_use_incluster_config", "flag", "true", "use the credentials of the pod that launches jobs"),
    Option("spark_k8s_job_template_path", "path", "", "template of Spark jobs on Kubernetes"),
    Option("stencil_url", "text", "", "where Protobuf descriptors of streams are fetched"),
    Option("statsd_enabled", "flag", "false", "send metrics of ingestion to StatsD"),
    Option("statsd_host", "text", "", "host of StatsD; empty for this machine", server=True),
    Option("statsd_port", "integer", "9125", "port of StatsD"),
    Option("statsd_interval", "number", "30", "seconds between two reports to StatsD"),
    Option(
        "metrics_textfile", "path", "", "file that commands add what they counted to, for Prometheus' node exporter"
    ),
    Option("telemetry", "flag", "false", "accepted for programs written for Feast; Tiffin sends none"),
)

OPTIONS: Final[dict[str, Option]] = {option.name: option for option in _TABLE}

#: Other names under which users know an option.
ALIASES: Final = {
    "spark_staging_location": "staging_location",
    "core_secure": "core_enable_ssl",
    "serving_secure": "serving_enable_ssl",
}

_FLAGS: Final = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
#: Schemes of stores that live in this process or on this disk.
_LOCAL: Final = frozenset({"lmdb", "memory", "sqlite"})


def option_named(name: object) -> Option:
    """The option of a name in any case; InvalidConfig names the closest one."""
    lowered = name.strip().lower() if isinstance(name, str) else ""
    option = OPTIONS.get(ALIASES.get(lowered, lowered))
    if option is None:
        raise InvalidConfig(
            f"{name!r} is not an option of Tiffin.", field=str(name), hint=closest(lowered, [*OPTIONS, *ALIASES])
        )
    return option


def read_flag(text: str) -> bool:
    """A flag: true, yes, on, 1 or their opposites, in any case; empty is False."""
    if not text.strip():
        return False
    if text.strip().lower() not in _FLAGS:
        raise InvalidConfig(f"{text!r} is not a flag.", hint="Write true or false.")
    return _FLAGS[text.strip().lower()]


def read_size(text: str) -> int:
    """A size in bytes. Units count in powers of 1000 (kB, MB, GB, TB) or of 1024 (KiB, MiB, GiB, TiB).

    >>> read_size("2GB"), read_size("1.5 MiB"), read_size("4096")
    (2000000000, 1572864, 4096)
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InvalidConfig(f"{text!r} is not a size.", hint="Write bytes, or a number with a unit such as 2GB.")
    unit = 1024 if match[3] else 1000
    return int(float(match[1]) * unit ** " kmgt".index(match[2].lower() or " "))


def read_number(text: str) -> float:
    """A finite decimal number."""
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if number - number != 0:
        raise InvalidConfig(f"{text!r} is not a number.", hint="Write a decimal number.")
    return number


def read_integer(text: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError:
        raise InvalidConfig(f"{text!r} is not a whole number.", hint="Write digits only.") from None


def check_value(option: Option, text: str) -> None:
    """Raise InvalidConfig where a value cannot be read as the option's kind; an empty one always can."""
    if not text:
        return
    match option.kind:
        case "flag":
            read_flag(text)
        case "integer":
            read_integer(text)
        case "number":
            read_number(text)
        case "size":
            read_size(text)
        case "text" | "path":
            return


def names_server(option: Option, text: str) -> bool:
    """Whether a value is the address of something outside this machine."""
    scheme, separator, _ = text.partition(":")
    return option.server and bool(text) and not (separator and scheme in _LOCAL)


def shown(option: Option, text: str) -> str:
    """A value as it may be printed: secrets and the passwords inside URLs are hidden."""
    if option.secret and text:
        return "****"
    text = re.sub(r"(://[^:/@\s]*:)\S+@", r"\1****@", text)  # a password may hold any sign
    return re.sub(r"([?&][^=&\s]*(?:password|secret|token)=)[^&\s]+", r"\1****", text, flags=re.IGNORECASE)
