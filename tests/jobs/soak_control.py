"""Controllers under fire: ``size`` rounds in which a random leader, standby or job is killed, stopped or paused.

After each round every wanted stream has one worker again, and no two processes ever worked for one table in turns.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from pathlib import Path

from tests.jobs.stage import LEASE, Stage, turns, until

TABLES = ("a", "b")


def run(size: int, seed: int) -> str:
    """What happened, in one line."""
    chance = random.Random(seed)
    done: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(f"sqlite:///{folder}/registry.db", Path(folder), {"a": "0a", "b": "0b"})
        try:
            controllers = [stage.controller(), stage.controller()]
            for round_ in range(size):
                what = chance.choice(["kill leader", "pause leader", "kill job", "change", "stop leader"])
                done[what] = done.get(what, 0) + 1
                leader = until(lambda: stage.leader, 60)
                mine = next((each for each in controllers if each.pid == leader), None)
                if what == "kill job":
                    os.kill(stage.worker(chance.choice(TABLES), patience=60), signal.SIGKILL)
                elif what == "change":
                    table = chance.choice(TABLES)
                    stage.want({name: f"{round_ if name == table else 0}{name}" for name in TABLES})
                elif mine is not None:
                    _strike(stage, mine, what)
                    if what != "pause leader":
                        controllers[controllers.index(mine)] = stage.controller()
                for table in TABLES:
                    stage.worker(table, patience=90)
            for table in TABLES:
                worked = turns(stage.lines(), table)
                assert len(worked) == len(set(worked)), (seed, table, worked)
        finally:
            stage.close()
    return f"{size} rounds, {done}: one worker a table at any time"


def _strike(stage: Stage, leader: object, what: str) -> None:
    pid: int = leader.pid  # type: ignore[attr-defined]
    if what == "pause leader":
        os.kill(pid, signal.SIGSTOP)
        until(lambda: stage.leader not in {None, pid}, 60)
        os.kill(pid, signal.SIGCONT)
        time.sleep(LEASE)
        return
    os.kill(pid, signal.SIGKILL if what == "kill leader" else signal.SIGTERM)
    leader.wait(60)  # type: ignore[attr-defined]
