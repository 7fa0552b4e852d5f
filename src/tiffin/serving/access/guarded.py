"""GuardedGate: the gate of a service with access control, by tokens, web tokens or both."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Set
from typing import TYPE_CHECKING, Final

from tiffin import clock
from tiffin.config import Config
from tiffin.deployment import has_core, registry_url
from tiffin.errors import PermissionDenied, Unauthenticated
from tiffin.refs import PROJECT_NAME
from tiffin.registry.access import EVERY_PROJECT, Principal, Role
from tiffin.serving.access.denials import bearer, denial, unauthenticated
from tiffin.serving.access.gate import GateCounts
from tiffin.serving.access.kept import KeptFile
from tiffin.serving.access.oidc import WebTokens, open_web_tokens
from tiffin.serving.access.recorder import Recorder
from tiffin.serving.access.sources import AccessSource, CoreSource, DatabaseSource, engine_of, no_database
from tiffin.serving.access.tokens import KnownTokens
from tiffin.serving.ticker import Ticker

if TYPE_CHECKING:
    from tiffin.workspace import Workspace

#: Seconds after which a change of tokens is seen, and denials are written.
INTERVAL: Final = 1.0
#: Seconds that a start waits for the source before it takes what an earlier run knew.
_PATIENCE: Final = 2.0
#: Seconds that one request waits for an issuer's new keys.
_KEY_PATIENCE: Final = 3.0
_PRUNE_SECONDS: Final = 3600.0
_DAY: Final = 86_400 * 1_000_000


class GuardedGate:
    """Admits those whose token is known or whose web token is signed; see :class:`~tiffin.serving.access.gate.Gate`."""

    def __init__(
        self,
        source: AccessSource,
        *,
        tokens: KnownTokens | None = None,
        web_tokens: WebTokens | None = None,
        retention_days: float | None = None,
    ) -> None:
        self._source = source
        self._tokens = tokens
        self._web_tokens = web_tokens
        self._retention = retention_days
        self._recorder = Recorder(source.add)
        self._pruned = 0.0
        self._writing = Ticker("audit", INTERVAL, self._write)
        self._tickers = [self._writing]
        self._following: Ticker | None = None
        self._fetching: Ticker | None = None
        if tokens is not None:
            self._following = Ticker("access", INTERVAL, tokens.refresh)
            self._tickers.append(self._following)
        if web_tokens is not None:
            self._fetching = Ticker("keys", INTERVAL, web_tokens.keys.refresh)
            web_tokens.keys.wake = self._fetching.wake
            self._tickers.append(self._fetching)

    def admit(self, authorization: str | None) -> Principal:
        try:
            principal, wrong = self._find(bearer(authorization))
        except Unauthenticated as error:
            self._refuse("", error)
            raise
        if wrong:
            expired = unauthenticated(wrong)
            self._refuse(principal.name, expired)
            raise expired
        return principal

    async def admit_async(self, authorization: str | None) -> Principal:
        try:
            return self.admit(authorization)
        except Unauthenticated:
            asked = self._web_tokens.keys.asked if self._web_tokens is not None else None
            if asked is None:
                raise
        # What several requests wait for at once must not be cancelled by the first that has waited long enough.
        await asyncio.wait((asyncio.wrap_future(asked),), timeout=_KEY_PATIENCE)
        return self.admit(authorization)

    def require(self, principal: Principal, project: str, role: Role, *, action: str) -> None:
        if principal.allows(project, role):
            return
        error = denial(principal, project, role, action)
        self._record_denial(principal, project, action, error)
        raise error

    def record(self, principal: Principal, project: str, action: str, detail: str) -> None:
        self._recorder.change(principal.name, project, action, detail)

    def refresh(self) -> None:
        if self._following is not None:
            self._following.attempt()

    def start(self) -> None:
        for ticker in self._tickers:
            ticker.start()
            ticker.wake()
        deadline = time.monotonic() + _PATIENCE
        for ticker, recall in self._recalls():
            ticker.wait_first(deadline - time.monotonic())
            recall()

    def close(self) -> None:
        for ticker in self._tickers:
            ticker.close()
        self._writing.attempt()
        self._source.close()

    def counts(self) -> GateCounts:
        return GateCounts(self._recorder.dropped, self._tokens.age if self._tokens is not None else None)

    def _recalls(self) -> list[tuple[Ticker, Callable[[], None]]]:
        found: list[tuple[Ticker, Callable[[], None]]] = []
        if self._following is not None and self._tokens is not None:
            found.append((self._following, self._tokens.recall))
        if self._fetching is not None and self._web_tokens is not None:
            found.append((self._fetching, self._web_tokens.keys.recall))
        return found

    def _find(self, text: str) -> tuple[Principal, str]:
        if self._tokens is not None and text.startswith("tiffin_"):
            return self._tokens.find(text)
        if self._web_tokens is not None and text.count(".") == 2:
            return self._web_tokens.find(text)
        raise unauthenticated("invalid")

    def _refuse(self, name: str, error: Unauthenticated) -> None:
        self._recorder.deny(name, "", "authenticate", error.message)

    def _record_denial(self, principal: Principal, project: str, action: str, error: PermissionDenied) -> None:
        known = project == EVERY_PROJECT or PROJECT_NAME.fullmatch(project)
        self._recorder.deny(principal.name, project if known else "", action, error.message if known else "no project")

    def _write(self) -> None:
        self._recorder.flush()
        if self._retention is not None and time.monotonic() - self._pruned > _PRUNE_SECONDS:
            self._source.prune(clock.now() - round(self._retention * _DAY))
            self._pruned = time.monotonic()


def open_guarded_gate(config: Config, workspace: Workspace, asked: Set[str]) -> GuardedGate:
    """The gate for the ways in that are asked for, ``tokens`` and ``oidc``."""
    folder = config.home / "access"
    source = _source(config, workspace)
    tokens = None
    if "tokens" in asked:
        registry = config.get("core_url") if has_core(config) else registry_url(config)
        kept = KeptFile(folder / "tokens.json", registry)
        tokens = KnownTokens(source, kept, max_age=_maybe(config, "access_max_age"))
    web_tokens = None
    if "oidc" in asked:
        web_tokens = open_web_tokens(config, KeptFile(folder / "keys.json", config.get("oidc_issuer")))
    return GuardedGate(
        source, tokens=tokens, web_tokens=web_tokens, retention_days=_maybe(config, "audit_retention_days")
    )


def _maybe(config: Config, option: str) -> float | None:
    return config.getfloat(option) if config.exists(option) else None


def _source(config: Config, workspace: Workspace) -> AccessSource:
    if not has_core(config):
        if not registry_url(config).startswith(("sqlite", "postgres")):
            raise no_database()
        return DatabaseSource(lambda: engine_of(workspace))
    from tiffin.remote.services import core_connection

    return CoreSource(core_connection(config))
