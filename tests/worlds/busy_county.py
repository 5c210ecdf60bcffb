"""A county in which much waits: what `cases` and `notify` say of it, for who looks at all of it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

from libs.common.contracts import cases as said
from libs.common.contracts.cases import AgencyKind
from libs.common.law import codes
from libs.common.log.seam import Record
from tests.worlds import clocks_told
from tests.worlds.desk import Speaker
from tests.worlds.reading_room import OFFICE, CaseTold

TOWNS = ("青山镇", "白水街道", "石桥镇", "竹源乡", "临江街道", "云岭乡", "清河镇", "双溪乡")
DEPARTMENTS = (
    *("县综合行政执法局", "县水利局", "县林业局", "县自然资源局", "县市场监管局"),
    *("县生态环境局", "县住建局", "县应急管理局", "县农业农村局"),
)


def code(number: int) -> str:
    return codes.with_check_digit(f"113307990026{number:05}")


#: Code of each agency by its name.
CODES: Mapping[str, str] = {name: code(n) for n, name in enumerate((*TOWNS, *DEPARTMENTS), start=10)}


def agencies(speaker: Speaker, names: Mapping[str, str] = CODES) -> Iterator[Record]:
    """The register: the office, and these."""
    yield from _registered(speaker, OFFICE, "青禾县综合执法联席会议办公室", "government", "330799", True)
    for number, (name, agency) in enumerate(names.items(), start=101):
        town = number - 101 < len(TOWNS)
        kind: AgencyKind = "department" if not town else "street" if name.endswith("街道") else "township"
        yield from _registered(speaker, agency, name, kind, f"330799{number}" if town else "330799", False)


def _registered(
    speaker: Speaker, agency: str, name: str, kind: AgencyKind, division: str, coordinates: bool
) -> Iterator[Record]:
    event = said.AgencyRegistered(
        agency=agency, name=name, kind=kind, division=division, coordinates=coordinates
    )
    yield speaker.say(event, f"agency/{agency}")


def bustle(speaker: Speaker, seed: int = 3, cases: int = 60) -> Iterator[Record]:
    """Cases that cross between them, with the clocks that this starts."""
    chance = random.Random(seed)
    towns, departments = ([CODES[name] for name in names] for names in (TOWNS, DEPARTMENTS))
    for n in range(cases):
        town, department = chance.choice(towns), chance.choice(departments[: 3 + chance.randrange(7)])
        case = CaseTold(speaker, id=f"0193a{n:03}", holder=town, sides=(town, department))
        yield case.clue()
        yield case.filed()
        light = chance.choices(("green", "yellow", "red", "black"), (9, 4, 2, 1))[0]
        days = chance.randrange(3 if light == "red" else 9)
        match n % 6:
            case 0:
                yield clocks_told.opened(
                    speaker, light, days=days, agency=town, awaits="", rule="pen.decide", about=case.stream
                )
            case 1 | 2:
                yield case.offered(department)
                yield clocks_told.opened(
                    speaker, light, days=days, agency=department, awaits=town, about=case.stream
                )
            case 3:
                yield case.offered(department)
                yield case.accepted(department)
                yield clocks_told.opened(
                    speaker,
                    light,
                    days=days,
                    agency=department,
                    awaits="",
                    rule="pen.decide",
                    about=case.stream,
                )
            case 4:
                yield case.requested(department)
                yield clocks_told.opened(
                    speaker,
                    light,
                    days=days,
                    agency=department,
                    awaits=town,
                    rule="col.assist",
                    about=case.stream,
                )
            case 5:
                yield from _to_and_fro(case, department, disputed=n % 12 == 5)
                yield clocks_told.opened(
                    speaker,
                    light,
                    days=days,
                    agency=town,
                    awaits=department,
                    rule="col.assist_ay",
                    about=case.stream,
                )


def _to_and_fro(case: CaseTold, department: str, *, disputed: bool) -> Iterator[Record]:
    for _ in range(2):
        yield case.offered(department)
        yield case.returned(department)
    if disputed:
        yield case.disputed(department)
