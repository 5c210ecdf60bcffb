"""The board: its door, what each reader sees on it, and that no words of others do anything in a browser."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from libs.common.clock import Clock
from libs.common.permit import Actor, Role
from libs.common.seal import encoded
from services.sharing.board import rules
from services.sharing.board.rules import Session
from services.sharing.board.tables import BoardLink
from tests.engines.chromium import Chromium, Page
from tests.worlds import busy_county, clocks_told, reading_room
from tests.worlds.desk import Speaker
from tests.worlds.listening import served
from tests.worlds.reading_room import (
    DEPARTMENT,
    OFFICE,
    OTHER,
    STRANGER,
    TOWNSHIP,
    CaseTold,
    Room,
    an_agency,
    on_file,
    until,
)

pytestmark = pytest.mark.anyio

COORDINATOR = Role.COORDINATOR
LINKS = "/v1/board/links"


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    """The township waits for the department; the other department has nothing to do with it."""
    async with on_file(tmp_path) as made:
        made.app.state.end = made.arrivals.end
        speaker = Speaker()
        known = (OFFICE, TOWNSHIP, DEPARTMENT, OTHER)
        await made.hears(*(speaker.say(an_agency(code), f"agency/{code}") for code in known))
        case = CaseTold(speaker)
        await made.hears(case.clue(), case.filed(), case.offered(DEPARTMENT))
        await made.hears(clocks_told.opened(speaker, "red"))
        yield made


async def link(room: Room, agency: str, *roles: Role, key: str = "k") -> httpx.Response:
    async with room.client(agency, *roles) as caller:
        return await caller.post(LINKS, json={}, headers={"idempotency-key": key})


def browser(room: Room, cookie: str = "") -> httpx.AsyncClient:
    """Somebody without a token."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(room.app),
        base_url="http://sharing",
        headers={b"cookie": f"liandong-board={cookie}".encode("latin-1")} if cookie else None,
    )


def cookie(room: Room, agency: str, *roles: Role, seconds: float = 60) -> str:
    """A session as the door would seal it."""
    key = room.app.state.here.keyring.tokens.derive(rules.SESSIONS)
    actor = Actor("zhang", agency, frozenset(roles or {Role.HANDLER}))
    ends_at = Clock().now() + timedelta(seconds=seconds)
    return rules.sealed(key, Session(actor, ends_at))


async def shown(room: Room, path: str, agency: str, *roles: Role) -> httpx.Response:
    async with browser(room, cookie(room, agency, *roles)) as caller:
        return await caller.get(path)


async def test_a_link_opens_the_board_once(room: Room) -> None:
    href = (await link(room, OFFICE, COORDINATOR)).json()["href"]
    async with browser(room) as caller:
        first = await caller.get(href)
        assert first.status_code == 200
        said = first.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=strict", "Path=/board", "Max-Age=28800"} <= set(said.split("; "))
        assert 'content="0; url=/board"' in first.text
        second = await caller.get(href)
        assert (second.status_code, "set-cookie" in second.headers) == (401, False)
    async with browser(room, said.partition(";")[0].partition("=")[2]) as caller:
        page = await caller.get("/board")
    assert (page.status_code, "联席会议办公室" in page.text) == (200, True)


async def test_the_command_line_gives_a_link_that_a_browser_can_open(room: Room) -> None:
    token = room.issuer.issue("zhang", OFFICE, (COORDINATOR,))
    async with served(room.app) as address, httpx.AsyncClient() as caller:
        given = {**os.environ, "LIANDONG_SHARING_URL": address}
        command = [sys.executable, "-m", "services.cli", "open", "--token", token]
        opened = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=given)
        said, _ = await opened.communicate()
        url = said.decode().strip()
        assert (opened.returncode, url.startswith(f"{address}/board/enter/")) == (0, True)
        assert (await caller.get(url)).status_code == 200


async def test_over_https_the_cookie_never_goes_in_the_clear(room: Room) -> None:
    for scheme, secure in (("http", False), ("https", True)):
        href = (await link(room, OFFICE, COORDINATOR, key=scheme)).json()["href"]
        async with browser(room) as caller:
            said = (await caller.get(f"{scheme}://sharing{href}")).headers["set-cookie"]
        assert ("Secure" in said.split("; ")) is secure


async def test_of_two_who_use_a_link_at_once_one_gets_in(room: Room) -> None:
    href = (await link(room, OFFICE, COORDINATOR)).json()["href"]
    async with browser(room) as caller:
        answers = await asyncio.gather(*(caller.get(href) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401, 401]


async def test_the_answer_that_is_kept_does_not_hold_the_link(room: Room) -> None:
    first, again = await link(room, OFFICE, COORDINATOR), await link(room, OFFICE, COORDINATOR)
    assert (first.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    assert (again.json()["id"], again.json()["href"]) == (first.json()["id"], None)
    secret = first.json()["href"].rpartition(".")[2]
    assert all(secret not in str(row) for row in await room.rows(BoardLink))


async def test_a_link_waits_a_minute_and_old_ones_are_swept_away(room: Room) -> None:
    href = (await link(room, OFFICE, COORDINATOR)).json()["href"]
    moved = Later()
    room.app.state.here = replace(room.app.state.here, clock=moved)
    async with browser(room) as caller:
        assert (await caller.get(href)).status_code == 401
    await link(room, OFFICE, COORDINATOR, key="another")
    (row,) = await room.rows(BoardLink)
    assert row["expires_at"] > moved.now()


class Later(Clock):
    """A minute and a second from now."""

    def now(self) -> datetime:
        return super().now() + rules.LINK_LIFE + timedelta(seconds=1)


@pytest.mark.parametrize("spoilt", ["", "x", ".", "字.字", "0" * 5000, "../..%2f"])
async def test_a_link_that_nobody_made_opens_nothing(room: Room, spoilt: str) -> None:
    href = (await link(room, OFFICE, COORDINATOR)).json()["href"]
    id_ = href.rpartition("/")[2].partition(".")[0]
    async with browser(room) as caller:
        for ticket in (spoilt, f"{id_}.{spoilt}", id_, f"{href.rpartition('/')[2]}x"):
            answer = await caller.get(f"/board/enter/{ticket}")
            assert answer.status_code in (401, 404, 422)
            assert "set-cookie" not in answer.headers


async def test_who_is_no_official_of_the_county_opens_nothing(room: Room) -> None:
    for agency, role in ((STRANGER, COORDINATOR), (TOWNSHIP, Role.OPERATOR), (TOWNSHIP, Role.INTEGRATOR)):
        assert (await link(room, agency, role)).status_code == 403
        assert (await shown(room, "/board", agency, role)).status_code == 404


async def test_a_session_ends_and_cannot_be_changed(room: Room) -> None:
    good = cookie(room, TOWNSHIP)
    text, _, mac = good.partition(".")
    said = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    forged = encoded(orjson.dumps({**said, "agency": OFFICE, "roles": ["coordinator"]}))
    link_key = room.app.state.here.keyring.tokens.derive(rules.LINKS)
    other_key = rules.sealed(link_key, Session(Actor("x", OFFICE, frozenset()), Clock().now()))
    wrong = (f"{forged}.{mac}", text, f"{text}.", f".{mac}", "..", "x" * 4000, other_key)
    for given in (*wrong, f"{text}.\xe9", "\xe9.\xe9", cookie(room, OFFICE, COORDINATOR, seconds=-1)):
        async with browser(room, given) as caller:
            answer = await caller.get("/board")
        assert (answer.status_code, "liandong open" in answer.text) == (401, True)


async def test_no_cookie_opens_the_api_and_no_token_a_page(room: Room) -> None:
    async with browser(room, cookie(room, OFFICE, COORDINATOR)) as caller:
        for path in ("/v1/picture", "/v1/picture/bottlenecks", "/v1/calendar.ics", "/v1/feeds/all"):
            assert (await caller.get(path)).status_code == 401
        assert (await caller.post(LINKS, json={}, headers={"idempotency-key": "k"})).status_code == 401
        # A session is no token either.
        bearer = {"authorization": f"Bearer {cookie(room, OFFICE, COORDINATOR)}"}
        assert (await caller.get("/v1/picture", headers=bearer)).status_code == 401
    for path in ("/board", f"/board/agencies/{TOWNSHIP}", "/board/cases/c1"):
        assert (await room.get(path, OFFICE, COORDINATOR)).status_code == 401
    token = room.issuer.issue("zhang", OFFICE, (COORDINATOR,))
    async with browser(room, token) as caller:
        assert (await caller.get("/board")).status_code == 401


async def test_the_office_sees_who_waits_for_whom(room: Room) -> None:
    page = (await shown(room, "/board", OFFICE, COORDINATOR)).text
    assert '<td class="cell red">' in page
    assert "青山镇在等" in page
    assert "移送接收或退回" in page
    assert "县林业局" not in page.partition("<tbody>")[0].partition("<thead>")[2]


async def test_an_agency_sees_on_the_board_what_the_api_tells_it(room: Room) -> None:
    page = (await shown(room, "/board", OTHER)).text
    assert "县水利局" not in page
    assert "青山镇" not in page
    own = (await shown(room, "/board", DEPARTMENT)).text
    assert "青山镇在等" in own
    for path, agency, status in (
        (f"/board/agencies/{TOWNSHIP}", TOWNSHIP, 200),
        (f"/board/agencies/{TOWNSHIP}", DEPARTMENT, 404),
        (f"/board/agencies/{STRANGER}", OTHER, 404),
        ("/board/cases/c1", TOWNSHIP, 200),
        ("/board/cases/c1", DEPARTMENT, 200),
        ("/board/cases/c1", OTHER, 404),
        ("/board/cases/none", TOWNSHIP, 404),
    ):
        assert (await shown(room, path, agency)).status_code == status, (path, agency)


async def test_who_keeps_the_register_sees_numbers_and_no_case(room: Room) -> None:
    page = (await shown(room, f"/board/agencies/{TOWNSHIP}", TOWNSHIP, Role.REGISTRAR)).text
    assert "青立" not in page
    assert (await shown(room, "/board/cases/c1", TOWNSHIP, Role.REGISTRAR)).status_code == 404
    page = (await shown(room, f"/board/agencies/{TOWNSHIP}", TOWNSHIP, Role.HANDLER)).text
    assert "青立〔2026〕c1号" in page


async def test_who_declined_a_case_is_not_told_where_it_stands_now(room: Room) -> None:
    speaker = Speaker()
    case = CaseTold(speaker, id="gone")
    await room.hears(case.clue(), case.offered(DEPARTMENT), case.returned(DEPARTMENT), case.filed())
    page = (await shown(room, "/board/cases/gone", DEPARTMENT)).text
    assert "退回移送" in page
    assert "青立" not in page
    assert "立案" not in page
    assert "青立〔2026〕gone号" in (await shown(room, "/board/cases/gone", TOWNSHIP)).text


async def test_every_page_says_what_a_browser_may_do_with_it(room: Room) -> None:
    for path, agency in (("/board", OFFICE), ("/board/cases/none", OFFICE), ("/board", STRANGER)):
        answer = await shown(room, path, agency, COORDINATOR)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert not re.search(r"\son\w+=|style=|<script(?! src=)|https?://", answer.text)


@asynccontextmanager
async def watched(chromium: Chromium, room: Room, href: str, address: str) -> AsyncIterator[Page]:
    """A browser that has used a link, with an ear for what goes wrong."""
    async with chromium.page("about:blank") as page:
        for domain in ("Runtime", "Log", "Audits"):
            await page.ask(f"{domain}.enable")
        await page.ask("Page.navigate", url=address + href)
        for _ in range(2):
            await page.hears("Page.loadEventFired")
        yield page


BAD = re.compile(
    r'"method":"(Page\.javascriptDialogOpening|Runtime\.exceptionThrown|Audits\.issueAdded|Log\.entryAdded'
    r'|Runtime\.consoleAPICalled)"'
)

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; alert(1); '",
    "{{ 7*7 }}{% raw %}",
    "</main></body><svg onload=alert(1)>",
    "javascript:alert(1)",
    "\u202e倒写\u2028",
    "长" * 300,
)


async def test_words_of_others_do_nothing_in_a_browser(tmp_path: Path, chromium: Chromium) -> None:
    """Names of agencies, numbers of cases and ids are text, wherever they stand."""
    async with on_file(tmp_path) as room:
        room.app.state.end = room.arrivals.end
        speaker = Speaker()
        names = {name: busy_county.code(n) for n, name in enumerate(HOSTILE, start=50)}
        await room.hears(*busy_county.agencies(speaker, {**busy_county.CODES, **names}))
        evil = list(names.values())
        for n, text in enumerate(HOSTILE):
            case = CaseTold(speaker, id=text.replace("/", ""), holder=evil[n], sides=(evil[n], evil[n - 1]))
            await room.hears(case.clue(), case.filed(), case.offered(evil[n - 1]), case.disputed(evil[n - 1]))
            owed: Mapping[str, Any] = {"agency": evil[n], "awaits": evil[n - 1], "about": case.stream}
            await room.hears(clocks_told.opened(speaker, "black", obligation=text, rule=text, **owed))
        async with served(room.app) as address:
            for path in ("", f"/agencies/{evil[0]}", "/cases/%3Cscript%3Ealert(1)%3Cscript%3E"):
                key = f"k{len(path)}"
                href = (await link(room, OFFICE, COORDINATOR, key=key)).json()["href"]
                async with watched(chromium, room, href, address) as page:
                    if path:
                        await page.ask("Page.navigate", url=f"{address}/board{path}")
                        await page.hears("Page.loadEventFired")
                    counted = (
                        "Promise.resolve([document.images.length, document.scripts.length, 1 * !window.x])"
                    )
                    assert await page.run(counted) == [1, 1, 1]
                    text = await page.run("Promise.resolve(document.body.innerText)")
                    assert "<script>alert(1)</script>" in text
                    assert [said for said in page.heard if BAD.search(said)] == []


@pytest.mark.parametrize(("width", "height"), [(390, 844), (3840, 2160)])
async def test_the_board_lives_in_a_browser_and_complains_of_nothing(
    tmp_path: Path, chromium: Chromium, width: int, height: int
) -> None:
    async with on_file(tmp_path) as room:
        room.app.state.end = room.arrivals.end
        speaker = Speaker()
        await room.hears(*busy_county.agencies(speaker))
        await room.hears(*busy_county.bustle(speaker))
        href = (await link(room, OFFICE, COORDINATOR)).json()["href"]
        async with served(room.app) as address, watched(chromium, room, href, address) as page:
            await page.ask(
                "Emulation.setDeviceMetricsOverride",
                width=width,
                height=height,
                deviceScaleFactor=1,
                mobile=False,
            )
            sizes = "Promise.resolve([document.documentElement.scrollWidth, innerWidth])"
            wide, there = await page.run(sizes)
            assert wide <= there
            await page.run(_SOON % "document.getElementById('live').classList.contains('on')")
            before = await page.run("Promise.resolve(+document.querySelector('.tile b').textContent)")
            await room.hears(CaseTold(speaker, id="new", holder=busy_county.CODES["青山镇"]).clue())
            await page.run(_SOON % f"+document.querySelector('.tile b').textContent === {before + 1}")
            assert [said for said in page.heard if BAD.search(said)] == []


#: Resolves as soon as this holds.
_SOON = """new Promise((resolve, reject) => {
  const end = Date.now() + 15000;
  const look = () => (%s) ? resolve(true) : Date.now() > end ? reject("never") : setTimeout(look, 50);
  look();
})"""


async def test_word_that_the_log_has_grown_ends_with_the_session(room: Room) -> None:
    heard: list[str] = []

    async def listen(given: str) -> int:
        headers = {"cookie": f"liandong-board={given}", "accept": "text/event-stream"}
        async with (
            httpx.AsyncClient(base_url=address, headers=headers) as caller,
            caller.stream("GET", "/board") as answer,
        ):
            async for line in answer.aiter_lines():
                heard.append(line)
        return answer.status_code

    async with served(room.app) as address:
        listening = asyncio.create_task(listen(cookie(room, OFFICE, COORDINATOR, seconds=2)))
        await until(lambda: any(line.startswith("data: ") for line in heard))
        await room.hears(CaseTold(Speaker(), id="next").clue())
        await until(lambda: sum(line.startswith("data: ") for line in heard) == 2)
        room.arrivals.ping = 0.05
        # After the end of the session nothing more is said, whatever happens.
        await asyncio.wait_for(listening, 15)
        assert await listen(cookie(room, OFFICE, COORDINATOR, seconds=-1)) == 401
    said = [line for line in heard if line and not line.startswith((":", "retry"))]
    assert all(re.fullmatch(r"event: grown|data: \d+", line) for line in said[:4])


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
async def test_the_board_is_the_same_on_both_engines(
    request: pytest.FixtureRequest, tmp_path: Path, engine: str
) -> None:
    request.param = engine
    async with reading_room.on_engine(request, tmp_path) as room:
        speaker = Speaker()
        await room.hears(*busy_county.agencies(speaker))
        await room.hears(*busy_county.bustle(speaker))
        href = (await link(room, OFFICE, COORDINATOR)).json()["href"]
        async with browser(room) as caller:
            assert [(await caller.get(href)).status_code for _ in range(2)] == [200, 401]
        page = await shown(room, "/board", OFFICE, COORDINATOR)
        assert page.status_code == 200
        tiles = re.findall(r"<b>(\d+)</b>", page.text.partition('class="lights"')[0])
        assert tiles[:2] == ["60", "20"]
