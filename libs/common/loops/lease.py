"""A loop that must run once in the whole deployment runs under a lease with an epoch, on database time."""

from __future__ import annotations

from libs.common.clock import monotonic
from libs.common.store.store import Lease, Store


class Leased:
    """Holds one lease for one process: takes it, renews it in time, says when it is lost."""

    def __init__(self, store: Store, name: str, holder: str, *, seconds: float = 10.0) -> None:
        self._store = store
        self._name = name
        self._holder = holder
        self._seconds = seconds
        self._lease: Lease | None = None
        self._renew_at = 0.0

    @property
    def deadline(self) -> float:
        """What one piece of work under the lease may take, in seconds: under half of it."""
        return self._seconds * 0.4

    @property
    def leads(self) -> bool:
        """Whether the lease is ours as far as we know; one that nobody renews runs out."""
        return self._lease is not None and monotonic() < self._renew_at + self._seconds * 2 / 3

    async def held(self) -> Lease | None:
        """The lease if it is ours now, renewed when a third of its time has gone."""
        if self._lease is None or monotonic() >= self._renew_at:
            asked = monotonic()
            self._lease = await self._store.lease(self._name, self._holder, self._seconds)
            self._renew_at = asked + self._seconds / 3
        return self._lease

    def lost(self) -> None:
        """Somebody else has it: do not renew, ask again."""
        self._lease = None

    async def release(self) -> None:
        """Let the next one in at once."""
        if self._lease:
            await self._store.release(self._lease)
            self._lease = None
