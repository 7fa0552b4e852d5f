"""The model server: a model over HTTP that is asked with entity keys, in the protocols of KServe."""

from typing import Final

#: What makes the application of a worker.
APPLICATION: Final = "tiffin.pipeline.server.app:create_app"
