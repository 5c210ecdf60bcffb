"""What the benchmarks run on: one PostgreSQL, one Kafka, and a small county in the register."""

from __future__ import annotations

import functools
import os
import platform
import tempfile
from contextlib import ExitStack, closing
from datetime import date
from pathlib import Path
from types import TracebackType

from libs.common import edge
from libs.common.change import Change, Head
from libs.common.clock import Clock, Moment, Trace
from libs.common.permit import Actor, Role
from libs.common.store.seam import Committed
from libs.common.store.store import Store
from services.cases.intake.api import ClueIn
from services.cases.register.tables import Agency, Grant, Power
from tests.conftest import CACHE
from tests.engines.kafka import Kafka
from tests.engines.postgres import Postgres
from tests.worlds import cast

LONG_AGO = date(2020, 1, 1)
#: A handler of the township, who registers clues.
HANDLER = Actor("p1", cast.TOWNSHIP, frozenset({Role.HANDLER}))


class Machine:
    """Servers that start when they are first asked for, and end with the block."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def description(self) -> str:
        return f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"

    @functools.cached_property
    def postgres(self) -> Postgres:
        return self._stack.enter_context(closing(Postgres()))

    @functools.cached_property
    def kafka(self) -> Kafka:
        return self._stack.enter_context(closing(Kafka(CACHE / "kafka")))

    def directory(self) -> Path:
        """A new directory, removed at the end."""
        return Path(self._stack.enter_context(tempfile.TemporaryDirectory()))


async def register(store: Store) -> None:
    """The county of the tests in the register of `cases`: four agencies, a power, the township's grant."""
    agencies = [
        Agency(id=id_, name=name, kind=kind, division=division, coordinates=coordinates)
        for id_, name, kind, division, coordinates in cast.AGENCIES
    ]
    power = Power(
        code=cast.POWER,
        name="对占道设摊的处罚",
        department=cast.DEPARTMENT,
        basis="某省市容条例第十六条",
        penalty_range="",
        rectify_first=False,
    )
    grant = Grant(
        id=f"{cast.POWER}.g1",
        power=cast.POWER,
        agency=cast.TOWNSHIP,
        department=cast.DEPARTMENT,
        mode="conferred",
        document="青政发〔2020〕1号",
        effective_on=LONG_AGO,
    )
    heads = [Head("agency", agency.id) for agency in agencies]
    change = Change().owning(*heads, Head("power", power.code)).inserting(*agencies, power, grant)
    assert isinstance(await store.commit(change), Committed)


def a_request(clue: ClueIn, key: str) -> edge.Request[ClueIn]:
    """What a POST of this clue becomes, once its body and token have been read."""
    return edge.Request(
        actor=HANDLER,
        route="POST /v1/clues",
        path={},
        body=clue,
        key=key,
        digest=key.encode().ljust(32),
        if_match=None,
        at=Moment(Clock().now(), Trace(key)),
    )
