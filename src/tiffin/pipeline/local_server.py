"""LocalServer: the model server as a process on this machine, asked once before anybody else does."""

from __future__ import annotations

import http.client
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote, urlsplit

from tiffin.errors import JobFailed, Unavailable, error_from

_COMMAND: Final = (sys.executable, "-m", "tiffin.pipeline.server")


class LocalServer:
    """A model server on a free port of the loopback, which ends with the ``with`` block that it began with."""

    def __init__(self, model: str, *, options: Mapping[str, str] | None = None, timeout: float = 60) -> None:
        self._options = {**(options or {}), "model": model}
        self._timeout = timeout
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._log: list[str] = []
        self.url = ""

    def __enter__(self) -> LocalServer:
        command = [*_COMMAND, *(f"{name}={value}" for name, value in self._options.items())]
        # A list of arguments, which no shell reads.
        self._process = subprocess.Popen(  # noqa: S603
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        threading.Thread(target=self._read, name="tiffin-model-server", daemon=True).start()
        try:
            self._await_start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Let it answer what it has received, and end."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(self._timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def predict(self, name: str, instances: Sequence[Any]) -> list[dict[str, Any]]:
        """What the model says of instances; the server's own error where it says none."""
        answer = self._ask("POST", f"/v1/models/{quote(name)}:predict", {"instances": list(instances)})
        predictions: list[dict[str, Any]] = answer["predictions"]
        return predictions

    def check(self, name: str) -> None:
        """Raise what keeps the server from being ready."""
        self._ask("GET", f"/v1/models/{quote(name)}", None)

    def _ask(self, method: str, path: str, body: Any) -> Any:
        connection = http.client.HTTPConnection(str(urlsplit(self.url).netloc), timeout=self._timeout)
        try:
            content = None if body is None else json.dumps(body).encode()
            connection.request(method, path, content, {"content-type": "application/json"})
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"The model server at {self.url} does not answer: {error}.", hint=self._tail()) from error
        finally:
            connection.close()
        if response.status != 200:
            raise error_from(answer, response.status)
        return answer

    def _read(self) -> None:
        process = self._process
        if process is None or process.stdout is None:
            return
        with process.stdout as lines:
            for line in lines:
                self._lines.put(line.rstrip())
        self._lines.put("")

    def _await_start(self) -> None:
        until = time.monotonic() + self._timeout
        while not self.url:
            try:
                line = self._lines.get(timeout=max(until - time.monotonic(), 0.01))
            except queue.Empty:
                line = ""
            if not line:
                raise JobFailed(
                    f"The model server did not start within {self._timeout:g} s.",
                    hint=self._tail() or "It said nothing.",
                )
            self._log.append(line)
            if " listens on " in line:
                self.url = line.rpartition(" ")[2]

    def _tail(self) -> str:
        return " | ".join(self._log[-5:])
