"""Links: commands to Redis and their answers, on one server or on the nodes of a cluster.

A command is its arguments with the key that says where it belongs. Many commands go out in groups, the next while the
answers to the last are awaited, so that neither side waits for the other. Errors of the driver pass through.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final, Protocol

import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, NoScriptError, ResponseError
from redis.retry import Retry
from redis.sentinel import Sentinel

from tiffin.online.redis_address import Address
from tiffin.online.redis_scripts import DELETE_IF, ENSURE, REPLACE, WRITE

Command = tuple[bytes, tuple[Any, ...]]
"""A key, and the arguments of a command that touches it."""
Place = tuple[str, bytes]
"""How far a walk over all keys has come: the name of a master, and where in it."""

START: Final[Place] = ("", b"0")
_DONE: Final = b"0"

#: A group of commands in one send is at most about so long; two are in flight.
GROUP_BYTES: Final = 64 << 10
GROUP_COMMANDS: Final = 200
#: Keys of one MGET: a longer one would keep others waiting.
READ_KEYS: Final = 500
#: How often commands whose keys have moved are sent to where they are now.
HOPS: Final = 4
#: How many keys a step of SCAN looks at.
SCAN_KEYS: Final = 1000

_SCRIPTS: Final = {script.sha: script for script in (WRITE, ENSURE, REPLACE, DELETE_IF)}


class Link(Protocol):
    """Connections to where the rows are. Safe to use from several threads."""

    #: Whether one command may touch keys of many rows.
    takes_many: bool

    def run(self, commands: Sequence[Command]) -> list[Any]:
        """The answers of commands, those of one key in their order; error answers are raised once all are in."""
        ...

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of keys."""
        ...

    def scan(self, pattern: bytes, place: Place) -> tuple[list[bytes], Place | None]:
        """Keys that match a pattern, some perhaps twice, and the place to go on from; None at the end."""
        ...

    def info(self, section: str) -> list[dict[str, Any]]:
        """What every master tells of itself."""
        ...

    def tell(self, *command: str) -> None:
        """Give every master a command."""
        ...

    def refresh(self) -> None:
        """Look again at who is where: a connection was lost."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...


def connect(address: Address) -> Link:
    """The link to an address; it connects when it is first used."""
    return ClusterLink(address) if address.kind == "cluster" else DirectLink(address)


def arguments(address: Address) -> dict[str, Any]:
    """How the driver is told to connect."""
    found: dict[str, Any] = {
        "username": address.username or None,
        "password": address.password or None,
        "socket_timeout": address.timeout,
        "socket_connect_timeout": address.timeout,
        # One answer has one meaning in it, and the server sends nothing that was not asked for.
        "protocol": 2,
    }
    if address.kind != "cluster":
        found["db"] = address.database
    return found | tls_arguments(address)


def tls_arguments(address: Address) -> dict[str, Any]:
    """The driver's arguments for TLS."""
    if not address.tls:
        return {}
    return {
        "ssl": True,
        "ssl_ca_certs": address.ssl_ca_certs or None,
        "ssl_certfile": address.ssl_certfile or None,
        "ssl_keyfile": address.ssl_keyfile or None,
        "ssl_cert_reqs": "required" if address.ssl_verify else "none",
        "ssl_check_hostname": address.ssl_check_hostname and address.ssl_verify,
    }


def sentinel_arguments(address: Address) -> dict[str, Any]:
    """How the driver is told to connect to the sentinels themselves."""
    own = {"username": address.sentinel_username or None, "password": address.sentinel_password or None}
    return {key: value for key, value in arguments(address).items() if key != "db"} | own


class DirectLink:
    """One server: by its address, behind a socket, or the master that sentinels name."""

    takes_many = True

    def __init__(self, address: Address) -> None:
        self._client = _client(address)
        self._pool = self._client.connection_pool

    def run(self, commands: Sequence[Command]) -> list[Any]:
        with _borrowed(self._pool) as connection:
            answers = _exchange([(connection, [arguments for _, arguments in commands])])[0]
        _raise_first(answers)
        return answers

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        if len(keys) == 1:
            return [self._client.get(keys[0])]  # type: ignore[list-item]  # nothing is decoded
        parts = (keys[start : start + READ_KEYS] for start in range(0, len(keys), READ_KEYS))
        return [value for part in parts for value in self._client.mget(part)]  # type: ignore[misc]  # as above

    def scan(self, pattern: bytes, place: Place) -> tuple[list[bytes], Place | None]:
        cursor, keys = _scan(self._pool, pattern, place[1])
        return keys, None if cursor == _DONE else ("", cursor)

    def info(self, section: str) -> list[dict[str, Any]]:
        return [self._client.info(section)]

    def tell(self, *command: str) -> None:
        self._client.execute_command(*command)

    def refresh(self) -> None:
        self._pool.disconnect(inuse_connections=False)

    def close(self) -> None:
        self._client.close()


def _client(address: Address) -> redis.Redis:
    options = arguments(address) | {"retry": Retry(NoBackoff(), 0)}
    if address.kind == "unix":
        return redis.Redis(unix_socket_path=address.path, **options)
    if address.kind == "sentinel":
        sentinels = Sentinel(
            address.hosts, sentinel_kwargs=sentinel_arguments(address) | {"retry": options["retry"]}, **options
        )
        master: redis.Redis = sentinels.master_for(address.service)
        return master
    host, port = address.hosts[0]
    return redis.Redis(host=host, port=port, **options)


class ClusterLink:
    """The masters of a cluster; each command goes to the one that has its key's slot."""

    takes_many = False

    def __init__(self, address: Address) -> None:
        self._address = address
        self._opening = threading.Lock()
        self._opened: redis.RedisCluster | None = None

    @property
    def _cluster(self) -> redis.RedisCluster:
        if self._opened is None:
            with self._opening:
                if self._opened is None:
                    self._opened = redis.RedisCluster(
                        startup_nodes=[redis.cluster.ClusterNode(*host) for host in self._address.hosts],
                        retry=Retry(NoBackoff(), 0),
                        **arguments(self._address),
                    )
        return self._opened

    def run(self, commands: Sequence[Command]) -> list[Any]:
        answers: list[Any] = [None] * len(commands)
        left: Sequence[int] = range(len(commands))
        for _ in range(HOPS):
            self._ask(commands, left, answers)
            # Of one key all commands are moved or none, so they stay in their order.
            left = [position for position in left if isinstance(answers[position], MovedError)]
            if not left:
                break
            # Once for all of them: the driver would do so after every few.
            self.refresh()
        for position, answer in enumerate(answers):
            if isinstance(answer, AskError) and not isinstance(answer, MovedError):
                answers[position] = self._ask_there(answer, commands[position][1])
        _raise_first(answers)
        return answers

    def _ask(self, commands: Sequence[Command], positions: Sequence[int], answers: list[Any]) -> None:
        """Put the answers of the commands at some positions there, from the nodes that should have them."""
        lanes = self._lanes(self._cluster, [(position, commands[position][0]) for position in positions])
        with ExitStack() as stack:
            work = [
                (stack.enter_context(_borrowed(pool)), [commands[position][1] for position in those])
                for pool, those in lanes
            ]
            for (_, those), found in zip(lanes, _exchange(work), strict=True):
                for position, answer in zip(those, found, strict=True):
                    answers[position] = answer

    def _ask_there(self, asked: AskError, command: tuple[Any, ...]) -> Any:
        """The answer of the node that a key is on its way to."""
        node = self._cluster.get_node(host=asked.host, port=asked.port)
        if node is None:
            return asked
        with _borrowed(self._cluster.get_redis_connection(node).connection_pool) as connection:
            [(_, answer)] = _exchange([(connection, [(b"ASKING",), _in_full(command)])])
        return answer

    def _lanes(self, cluster: redis.RedisCluster, keys: Sequence[tuple[int, bytes]]) -> list[tuple[Any, list[int]]]:
        """The pools of the nodes that have these keys, each with the keys' positions, which are given with them."""
        manager = cluster.nodes_manager
        pools: dict[int, Any] = {}
        lanes: dict[int, tuple[Any, list[int]]] = {}
        for position, key in keys:
            slot = key_slot(key)
            pool = pools.get(slot)
            if pool is None:
                pool = pools[slot] = cluster.get_redis_connection(manager.get_node_from_slot(slot)).connection_pool
            lanes.setdefault(id(pool), (pool, []))[1].append(position)
        return list(lanes.values())

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return self.run([(key, (b"GET", key)) for key in keys])

    def scan(self, pattern: bytes, place: Place) -> tuple[list[bytes], Place | None]:
        name, cursor = place
        masters = self._masters()
        left = [master for master in sorted(masters) if master >= name]
        if not left:
            return [], None
        if left[0] != name:
            cursor = _DONE  # the master of this place is gone, or it is the first
        cursor, keys = _scan(masters[left[0]].connection_pool, pattern, cursor)
        if cursor != _DONE:
            return keys, (left[0], cursor)
        return keys, (left[1], _DONE) if len(left) > 1 else None

    def info(self, section: str) -> list[dict[str, Any]]:
        return [master.info(section) for master in self._masters().values()]

    def tell(self, *command: str) -> None:
        for master in self._masters().values():
            master.execute_command(*command)

    def _masters(self) -> dict[str, redis.Redis]:
        cluster = self._cluster
        return {node.name: cluster.get_redis_connection(node) for node in cluster.get_primaries()}

    def refresh(self) -> None:
        self._cluster.nodes_manager.initialize()

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()


def _in_full(command: tuple[Any, ...]) -> tuple[Any, ...]:
    """A command with a script's text instead of its hash."""
    if command[0] != b"EVALSHA":
        return command
    return (b"EVAL", _SCRIPTS[command[1]].text, *command[2:])


def _scan(pool: Any, pattern: bytes, cursor: bytes) -> tuple[bytes, list[bytes]]:
    with _borrowed(pool) as connection:
        [answers] = _exchange([(connection, [(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", SCAN_KEYS)])])
    _raise_first(answers)
    found: tuple[bytes, list[bytes]] = answers[0]
    return found


@contextmanager
def _borrowed(pool: Any) -> Iterator[Any]:
    """A connection of a pool; where its work was cut short it is closed, for answers may be on their way."""
    connection = pool.get_connection()
    try:
        yield connection
    except BaseException:
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


class _Lane:
    """Commands on their way through one connection."""

    def __init__(self, connection: Any, commands: list[tuple[Any, ...]]) -> None:
        self._connection = connection
        self._commands = commands
        self._sent = 0
        self._groups: list[int] = []
        self.answers: list[Any] = []

    def send(self) -> bool:
        """Send the next group, if there is one."""
        packed: list[bytes] = []
        size = start = self._sent
        size = 0
        while self._sent < len(self._commands) and size < GROUP_BYTES and self._sent - start < GROUP_COMMANDS:
            pieces = self._connection.pack_command(*self._commands[self._sent])
            packed += pieces
            size += sum(map(len, pieces))
            self._sent += 1
        if self._sent == start:
            return False
        self._connection.send_packed_command(packed if len(packed) == 1 else [b"".join(packed)], check_health=False)
        self._groups.append(self._sent - start)
        return True

    def receive(self) -> bool:
        """Take the answers of the oldest group, if there is one."""
        if not self._groups:
            return False
        for _ in range(self._groups.pop(0)):
            answer = self._answer()
            if isinstance(answer, NoScriptError):
                self._begin_again()
                return True
            self.answers.append(answer)
        return True

    def _begin_again(self) -> None:
        """The server lost its scripts: from the command that missed one on, send the texts, which it keeps."""
        for _ in range(self._sent - len(self.answers) - 1):
            self._answer()
        done = len(self.answers)
        self._commands[done:] = map(_in_full, self._commands[done:])
        self._sent, self._groups = done, []
        self.send()

    def _answer(self) -> Any:
        try:
            return self._connection.read_response()
        except ResponseError as error:
            return error


def _exchange(work: Sequence[tuple[Any, list[tuple[Any, ...]]]]) -> list[list[Any]]:
    """The answers of commands on each of several connections, error answers among them."""
    lanes = [_Lane(connection, commands) for connection, commands in work]
    for lane in lanes:
        lane.send()
    busy = lanes
    while busy:
        for lane in busy:
            lane.send()
        busy = [lane for lane in busy if lane.receive()]
    return [lane.answers for lane in lanes]


def _raise_first(answers: Sequence[Any]) -> None:
    for answer in answers:
        if isinstance(answer, ResponseError):
            raise answer
