"""``python -m tiffin.pipeline.server model=FOLDER [port=0] [OPTION=VALUE ...]``: a model server in the foreground.

What a container of an InferenceService runs: options may stand in the environment, too, as ``TIFFIN_MODEL``. Where no
model is named, it is the one that KServe has laid into the container, at ``STORAGE_URI``.
"""

from __future__ import annotations

import os
import sys

from tiffin.errors import InvalidArgument, TiffinError
from tiffin.pipeline.server import APPLICATION
from tiffin.serving import logs
from tiffin.serving.process import runner


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM or SIGINT; the exit code."""
    from tiffin.config import Config

    try:
        given = dict(_pair(text) for text in arguments)
        host, port = given.pop("host", "127.0.0.1"), int(given.pop("port", "0"))
        workers = int(given.pop("workers", "1"))
        config = Config(given)
        if not config.get("model") and os.environ.get("STORAGE_URI"):
            config = Config({**given, "model": os.environ["STORAGE_URI"]})
        logs.configure_from(config)
        return runner.serve(APPLICATION, config, host, port, workers, what="model server")
    except TiffinError as error:
        sys.stderr.write(f"tiffin.pipeline.server: {error}\n")
        return 1


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or (name in {"port", "workers"} and not value.isdigit()):
        raise InvalidArgument(f"{text!r} is no option.", field="option", hint="Write model=FOLDER port=8080.")
    return name, value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
