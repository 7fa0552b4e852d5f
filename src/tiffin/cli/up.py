"""``tiffin up``: both services over one home, for a laptop or a single machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from types import FrameType
from typing import Annotated, Any, Final

import typer

from tiffin.cli import output
from tiffin.cli.serve import CORE_PORT, ONLINE_PORT
from tiffin.cli.session import Session, command, group
from tiffin.errors import Unavailable

_PROGRAM: Final = "from tiffin.cli.main import run; run()"
#: Whatever else is configured: definitions and rows are those of the home.
_OF_THE_HOME: Final = {
    "TIFFIN_EMBEDDED": "true",
    "TIFFIN_CORE_URL": "",
    "TIFFIN_REGISTRY": "",
    "TIFFIN_REDIS_HOST": "",
    "TIFFIN_ONLINE_STORE": "",
}
_STOPPING: Final = (signal.SIGINT, signal.SIGTERM)

_Port = typer.Option(metavar="PORT", min=0, max=65535, help="Its port; 0 takes a free one.")

app = group("", "")


@command(app, "up", example="tiffin up\ntiffin up --core-port 0 --online-port 0 --json")
def up(
    session: Session,
    core_port: Annotated[int, _Port] = CORE_PORT,
    online_port: Annotated[int, _Port] = ONLINE_PORT,
) -> None:
    """Run the registry and the online service over the store of one home.

    Both listen on this machine alone, and end together: at Ctrl-C, or when one of them ends.
    """
    services = _Services(session)
    before = {each: signal.signal(each, services.stop) for each in _STOPPING}
    try:
        told = services.start({"core": core_port, "online": online_port})
        if told:
            _tell(session, told)
        code = services.wait()
    finally:
        services.stop()
        for each, handler in before.items():
            signal.signal(each, handler)
    if code:
        raise typer.Exit(code)


class _Services:
    """The two processes. Signals of this one are passed on to both."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._asked: set[str] = set()
        self._ended = threading.Event()
        self._stopping = False

    def start(self, ports: dict[str, int]) -> dict[str, Any]:
        """Start both, one after the other; where they answer. Empty where they were stopped meanwhile."""
        told: dict[str, Any] = {}
        for name, port in ports.items():
            if self.is_stopping():
                return {}
            process = self._processes[name] = subprocess.Popen(  # noqa: S603  (this very program)
                [sys.executable, "-c", _PROGRAM, *self._arguments(name, port)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                env=os.environ | _OF_THE_HOME,
            )
            assert process.stdout is not None  # a pipe was asked for
            with process.stdout as answer:
                line = answer.readline()  # it says one, when it answers
            if not line:
                code = process.wait()
                if self.is_stopping():
                    return {}
                raise Unavailable(
                    f"The {name} service did not start (exit code {code}).", hint="It said why on stderr, above."
                )
            told[name] = json.loads(line)["url"]
            threading.Thread(target=self._watch, args=(process,), daemon=True).start()
        return told

    def is_stopping(self) -> bool:
        """Whether they were asked to end."""
        return self._stopping

    def wait(self) -> int:
        """Until one ends, and then the other; the exit code: 0 where a signal ended them."""
        while not self._ended.wait(0.5):
            continue  # in slices, since a wait without end keeps signals from being handled
        asked = self._stopping
        self.stop()
        codes = [process.wait() for process in self._processes.values()]
        return 0 if asked and not any(codes) else 1

    def stop(self, number: int = signal.SIGTERM, frame: FrameType | None = None) -> None:
        """Ask both to end, each once: a second signal might meet a process that no longer minds them."""
        del number, frame
        self._stopping = True
        for name, process in self._processes.items():
            if name not in self._asked and process.poll() is None:
                self._asked.add(name)
                process.send_signal(signal.SIGTERM)

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self._ended.set()

    def _arguments(self, name: str, port: int) -> list[str]:
        given = self._session.config
        return [
            "serve",
            name,
            "--json",
            "--port",
            str(port),
            "--home",
            str(given.home),
            "--project",
            given.get("project"),
        ]


def _tell(session: Session, told: dict[str, Any]) -> None:
    home = str(session.config.home)
    if session.as_json:
        output.write_line(told | {"home": home})
        return
    core, online = (url.partition("://")[2] for url in told.values())
    output.say(
        [
            f"core    {told['core']}",
            f"online  {told['online']}",
            f"home    {home}",
            f"Clients: export TIFFIN_CORE_URL={core} TIFFIN_SERVING_URL={online}",
            "Ctrl-C ends both.",
        ]
    )
