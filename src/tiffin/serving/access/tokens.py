"""Tokens, as a service knows them: in memory, a second behind their source, and on disk for when that is away."""

from __future__ import annotations

import threading
import time
from typing import Final

from tiffin import clock
from tiffin.errors import InvalidArgument, Unavailable
from tiffin.registry.access import Principal
from tiffin.registry.tokens import Known, Token, id_of
from tiffin.serving.access.denials import unauthenticated
from tiffin.serving.access.kept import KeptFile
from tiffin.serving.access.sources import AccessSource, decode_known, encode_known

#: Every so many refreshes all tokens are read again, whatever their version says: a restored backup may count anew.
_WHOLE_EVERY: Final = 60


class KnownTokens:
    """Finds the principal of a token. Finding reads memory alone; :meth:`refresh` asks the source.

    ``max_age`` is in seconds: where the source has been away for longer, tokens are no longer trusted.
    """

    def __init__(self, source: AccessSource, kept: KeptFile | None = None, *, max_age: float | None = None) -> None:
        self._source = source
        self._kept = kept
        self._max_age = max_age
        self._version = -1
        self._tokens: dict[str, Token] | None = None
        self._confirmed = time.time()
        self._refreshes = 0
        self._lock = threading.Lock()
        #: Held by whoever asks the source, so that no older answer overtakes a newer one.
        self._refreshing = threading.Lock()

    @property
    def age(self) -> float | None:
        """Seconds since the source last confirmed what is known, None before it ever did."""
        return None if self._tokens is None else max(0.0, time.time() - self._confirmed)

    def find(self, text: str) -> tuple[Principal, str]:
        """Who calls with a token, and what is wrong with it: nothing (an empty text) or ``expired``.

        Raises Unauthenticated for any other text, and Unavailable while nothing is known.
        """
        tokens = self._trusted()
        token = tokens.get(id_of(text))
        if token is None or not token.fits(text):
            raise unauthenticated("invalid")
        expired = token.expires is not None and token.expires <= clock.now()
        return token.principal, "expired" if expired else ""

    def refresh(self) -> None:
        """Ask the source for changes; its errors are the caller's."""
        with self._refreshing:
            self._refresh()

    def _refresh(self) -> None:
        self._refreshes += 1
        whole = self._refreshes % _WHOLE_EVERY == 0
        asked = time.time()
        known = self._source.known(-1 if whole else self._version)
        with self._lock:
            self._take(known)
            self._confirmed = asked
        if known.tokens is not None and self._kept is not None:
            self._kept.save(encode_known(known) | {"confirmed": self._confirmed})

    def recall(self) -> None:
        """Take what is kept on disk, where the source has not answered yet."""
        document = self._kept.load() if self._kept is not None else None
        if not isinstance(document, dict):
            return
        confirmed = document.pop("confirmed", 0.0)
        try:
            known = decode_known(document)
        except (Unavailable, InvalidArgument):  # another version wrote it: as good as none
            return
        with self._lock:
            if self._tokens is None:
                self._take(known)
                self._version = -1
                # A time from the future would be trusted for ever.
                self._confirmed = min(float(confirmed) if isinstance(confirmed, int | float) else 0.0, time.time())

    def _take(self, known: Known) -> None:
        if known.tokens is not None:
            self._tokens = {token.id: token for token in known.tokens}
        self._version = known.version

    def _trusted(self) -> dict[str, Token]:
        tokens = self._tokens
        if tokens is None:
            raise Unavailable(
                "The service does not know its tokens yet: the registry has not answered since it started.",
                hint="Try again when the registry is back.",
            )
        if self._max_age is not None and time.time() - self._confirmed > self._max_age:
            raise Unavailable(
                "The service no longer trusts the tokens it knows: the registry has been away for too long.",
                hint="Try again when the registry is back; option access_max_age says how long is too long.",
            )
        return tokens
