"""The long runs: ``python -m tests.soak --size 300 --seed 1 [--only NAME]``.

Every module ``soak_*.py`` below this folder has ``run(size, seed) -> str``: it does the work of ``size`` cases from
``seed``, raises where one fails, naming the seed that reproduces it, and returns one line of what it saw.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=300, help="how many cases each run tries")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--only", default="", help="run only those whose name contains this")
    options = parser.parse_args()
    paths = [path for path in sorted(HERE.rglob("soak_*.py")) if options.only in path.stem]
    if not paths:
        parser.error(f"no long run has {options.only!r} in its name")
    for path in paths:
        name = ".".join(path.relative_to(HERE.parent).with_suffix("").parts)
        begin = time.monotonic()
        seen = importlib.import_module(name).run(options.size, options.seed)
        sys.stdout.write(f"{path.stem}: {seen} ({time.monotonic() - begin:.0f} s)\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
