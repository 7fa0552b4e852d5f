"""The child's side of a measurement: run one task in a fresh process and write what it found to a file.

Not for people: ``python -m benchmarks.worker module:function parameters.json answer.json``.
"""

import importlib
import json
import sys
from pathlib import Path

from benchmarks import clock


def main() -> None:
    """Run the task."""
    task, parameters, answer = sys.argv[1:]
    module, function = task.split(":")
    found = getattr(importlib.import_module(module), function)(**json.loads(Path(parameters).read_text()))
    found.setdefault("peak_mb", clock.peak_mb())
    # A file rather than standard output: libraries print progress there.
    Path(answer).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
