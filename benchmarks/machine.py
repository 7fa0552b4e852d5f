"""The machine and the versions that the numbers belong to. No names, addresses or paths."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = ["tiffin", "polars", "deltalake", "lmdb", "pyarrow"]
FEAST_LIBRARIES = ["feast", "duckdb", "ibis-framework", "dask", "pandas", "pyarrow"]


def versions(libraries: list[str]) -> dict[str, Any]:
    """A task: the versions found in the interpreter that runs it."""
    found = {}
    for name in libraries:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return {"seconds": 0.0, "versions": found}


def description() -> list[str]:
    """Date, cores, memory and Python, a line each."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    system = f"{platform.system()} {platform.machine()}"
    return [
        f"Date: {datetime.now(UTC):%Y-%m-%d}",
        f"Machine: {os.cpu_count()} cores ({_processor()}), {memory:.0f} GB of memory, {system}",
        f"Python: {platform.python_version()}",
    ]


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
