"""Moves through HTTP: what may be done now, what it needs, and what moved meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Executable

from libs.common.change import Change
from libs.common.clock import Moment, Trace
from libs.common.permit import Actor, Role
from libs.common.store.seam import Asked, Engine, Lookup, Outcome, Rows
from services.cases.register import loads, rules
from tests.worlds import county
from tests.worlds.county import DEPARTMENT, GRANTED, OFFICE, OFFICERS, TOWNSHIP, WITHHELD, County

pytestmark = pytest.mark.anyio

FILE = {"move": "file", "officers": list(OFFICERS[TOWNSHIP])}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[County]:
    async with county.a_county(tmp_path) as here:
        yield here


@dataclass
class Overtaken:
    """An engine at which others, once asked, commit just before whoever comes next."""

    engine: Engine
    others: list[Change] = field(default_factory=list)
    NOW: str = ""
    NUMBERS: str = ""

    async def commit(self, change: Change) -> Outcome:
        while self.others:
            await self.engine.commit(self.others.pop(0))
        return await self.engine.commit(change)

    async def run(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Rows:
        return await self.engine.run(statement, parameters)

    async def find(self, asked: Sequence[Asked]) -> Sequence[Rows]:
        return await self.engine.find(asked)

    async def scan(self, lookup: Lookup, clause: str) -> Rows:
        return await self.engine.scan(lookup, clause)

    async def fetch(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Rows:
        return await self.engine.fetch(statement, parameters)

    async def announce(self) -> None:
        await self.engine.announce()

    async def listen(self, heard: Callable[[], None]) -> None:
        await self.engine.listen(heard)

    async def close(self) -> None:
        await self.engine.close()


@dataclass
class Raced:
    """A county and the engine at which its callers can be overtaken."""

    here: County
    engine: Overtaken

    async def file(self, case: str, *others: Change) -> httpx.Response:
        """File with a current If-Match, after these were committed between load and commit."""
        headers = await self.here.etag(case)
        self.engine.others = list(others)
        return await self.here.post(f"/v1/cases/{case}/transitions", FILE, headers=headers)


@pytest.fixture
async def raced(tmp_path: Path) -> AsyncIterator[Raced]:
    engines: list[Overtaken] = []

    def around(engine: Engine) -> Engine:
        engines.append(Overtaken(engine, NOW=engine.NOW))
        return engines[-1]

    async with county.a_county(tmp_path, engine=around) as here:
        yield Raced(here, engines[-1])


async def options(here: County, case: str, by: str = TOWNSHIP, *roles: Role) -> dict[str, dict[str, Any]]:
    answer = await here.get(f"/v1/cases/{case}/transitions", by, *roles)
    assert answer.status_code == 200, answer.text
    return {option["name"]: option for option in answer.json()["data"]}


async def test_options_say_what_may_be_done_now(here: County) -> None:
    found = await options(here, await here.a_case())
    assert found["file"] == {
        "name": "file",
        "zh": "立案",
        "to": "filed",
        "to_zh": "立案",
        "who": "handler",
        "needs": ["officers"],
        "basis": "行政处罚法第五十四条第二款",
        "allowed": True,
        "blocks": [],
    }
    assert set(found) == {"file", "reject"}


async def test_options_say_by_which_article_the_rest_is_blocked(here: County) -> None:
    found = await options(here, await here.a_case(power=WITHHELD))
    (block,) = found["file"]["blocks"]
    assert (block["code"], block["basis"]) == ("beyond-power", "行政处罚法第二十四条第一款")
    assert (found["file"]["allowed"], found["reject"]["allowed"]) == (False, True)


async def test_options_are_the_actors_own(here: County) -> None:
    case = await here.a_case("investigating")
    assert not (await options(here, case))["decide"]["allowed"]
    assert (await options(here, case, TOWNSHIP, Role.APPROVER))["decide"]["blocks"][0][
        "code"
    ] == "approver-handles"
    assert not (await options(here, case, OFFICE, Role.COORDINATOR))["decide"]["allowed"]


async def test_a_case_goes_its_way_to_the_end(here: County) -> None:
    case = await here.a_case("closed")
    read = (await here.get(f"/v1/cases/{case}")).json()
    assert (read["stage"], read["decision"]) == ("closed", "penalty")
    assert read["no"] == f"青山镇立〔{county.TODAY.year}〕第1号"
    assert read["decision_no"] == f"青山镇罚决〔{county.TODAY.year}〕第1号"
    assert await options(here, case) == {}


async def test_a_filing_beyond_the_power_is_refused_with_the_article(here: County) -> None:
    answer = await here.move(await here.a_case(power=WITHHELD), FILE)
    assert (answer.status_code, answer.json()["basis"]) == (409, "行政处罚法第二十四条第一款")
    assert answer.json()["type"] == "urn:liandong:problem:beyond-power"


@pytest.mark.parametrize("officers", [["t-zhang"], ["t-zhang", "d-wang"], ["t-zhang", "nobody"]])
async def test_a_filing_by_fewer_than_two_certified_officers_is_refused(
    here: County, officers: list[str]
) -> None:
    answer = await here.move(await here.a_case(), {"move": "file", "officers": officers})
    assert (answer.status_code, answer.json()["basis"]) == (409, "行政处罚法第四十二条第一款")


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"move": "file"}, ["/officers"]),
        ({"move": "file", "officers": []}, ["/officers"]),
        ({**FILE, "reason": "因为"}, ["/reason"]),
        ({**FILE, "decision": "penalty"}, ["/decision"]),
        ({"move": "reject"}, ["/reason"]),
        ({"move": "fly"}, ["/move"]),
        ({"move": "decide", "decision": "mercy"}, ["/decision"]),
        ({"officers": ["t-zhang", "t-li"]}, ["/move"]),
        ({**FILE, "stage": "closed"}, ["/stage"]),
    ],
)
async def test_a_move_brings_what_the_table_asks_for_no_more_and_no_less(
    here: County, body: dict[str, Any], pointers: list[str]
) -> None:
    answer = await here.move(await here.a_case(), body)
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == pointers


async def test_a_move_of_another_role_is_not_permitted(here: County) -> None:
    case = await here.a_case("investigating")
    answer = await here.move(case, {"move": "decide", "decision": "penalty"}, person="head")
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:liandong:problem:wrong-role")


async def test_a_move_says_which_version_it_has_seen(here: County) -> None:
    case = await here.a_case()
    path = f"/v1/cases/{case}/transitions"
    assert (await here.post(path, FILE)).status_code == 428
    assert (await here.post(path, FILE, headers={"if-match": '"7"'})).status_code == 412
    assert (await here.post(path, FILE, headers={"if-match": "*"})).status_code == 422
    assert (await here.post(path, FILE, headers={"if-match": '"1"'})).status_code == 201


async def test_numbers_have_no_gap(here: County) -> None:
    """Refusals and races take no number."""
    cases = [await here.a_case() for _ in range(6)]
    await here.move(cases[0], {"move": "file", "officers": ["t-zhang"]})
    answers = await asyncio.gather(*(here.move(case, FILE) for case in cases))
    numbers = sorted(answer.json()["no"] for answer in answers)
    assert numbers == [f"青山镇立〔{county.TODAY.year}〕第{n}号" for n in range(1, 7)]


async def test_one_move_tried_by_ten_at_once_is_made_once(here: County) -> None:
    case = await here.a_case()
    answers = await asyncio.gather(
        *(here.post(f"/v1/cases/{case}/transitions", FILE, headers={"if-match": '"1"'}) for _ in range(10))
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [412] * 9


async def moved(here: County, kind: str, id_: str) -> Change:
    """That a stream moves, whatever it is that moves it."""
    async with here.store.reading() as read:
        return Change().owning(await read.head(kind, id_))


async def test_a_counter_that_moved_meanwhile_costs_nothing_but_the_next_number(raced: Raced) -> None:
    case = await raced.here.a_case()
    counter = f"{TOWNSHIP}/{county.TODAY.year}/立案"
    answer = await raced.file(case, await moved(raced.here, "counter", counter))
    assert answer.status_code == 201
    assert answer.json()["no"].endswith("第2号")


async def test_a_power_that_moved_meanwhile_is_read_again(raced: Raced) -> None:
    case = await raced.here.a_case()
    answer = await raced.file(case, await moved(raced.here, "power", GRANTED))
    assert answer.status_code == 201


async def test_a_grant_recalled_between_reading_and_writing_is_seen(raced: Raced) -> None:
    case = await raced.here.a_case()
    async with raced.here.store.reading() as read:
        s = await loads.recalling(read, f"{GRANTED}.g1")
    recall = rules.recall_grant(
        s.competence,
        s.grant,
        on=county.TODAY,
        document="1号",
        by=Actor("registrar", OFFICE),
        at=Moment(raced.here.clock.now(), Trace("request")),
    )
    answer = await raced.file(case, recall)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:liandong:problem:beyond-power")


async def test_the_case_itself_that_moved_meanwhile_is_a_stale_if_match(raced: Raced) -> None:
    case = await raced.here.a_case()
    answer = await raced.file(case, await moved(raced.here, "case", case))
    assert answer.status_code == 412


async def recall_today(here: County) -> None:
    recall = {"recalled_on": county.day(), "document": "青政发〔2026〕9号"}
    await here.must(f"/v1/grants/{GRANTED}.g1/recall", recall, OFFICE, Role.REGISTRAR)


async def test_an_act_of_the_day_before_a_recall_is_filed_and_one_of_the_day_is_not(here: County) -> None:
    before, after = [await here.a_case(registered_on=county.day(-2)) for _ in range(2)]
    await recall_today(here)
    filed = await here.move(before, {**FILE, "acted_on": county.day(-1)})
    refused = await here.move(after, {**FILE, "acted_on": county.day()})
    assert (filed.status_code, filed.json()["filed_on"]) == (201, county.day(-1))
    assert (refused.status_code, refused.json()["basis"]) == (409, "行政处罚法第二十四条第一款")


async def test_an_act_is_not_dated_before_the_clue_nor_tomorrow(here: County) -> None:
    case = await here.a_case()
    for acted_on in (county.day(-1), county.day(1)):
        answer = await here.move(case, {**FILE, "acted_on": acted_on})
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:liandong:problem:impossible-day")


async def test_the_sender_no_longer_moves_a_case_that_was_accepted(here: County) -> None:
    case = await here.a_case()
    transfer = await here.a_transfer(case)
    await here.must(f"/v1/transfers/{transfer}/acceptance", {}, DEPARTMENT)
    assert (await here.move(case, FILE)).status_code == 403
    officers = list(OFFICERS[DEPARTMENT])
    assert (await here.move(case, {"move": "file", "officers": officers}, DEPARTMENT)).status_code == 201
