"""Routes of the board: pages for people, with a session of their own. They show what the API would say.

No page takes a token, and no cookie opens anything but a page: the two doors have nothing in common but the
permits behind them.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Annotated, Any

import jinja2
from fastapi import Path, Request, Response
from fastapi.params import Depends
from starlette.responses import HTMLResponse

from libs.common import clock, errors
from libs.common.change import Change
from libs.common.clock import monotonic
from libs.common.edge import Loaded, Rendered, Verb
from libs.common.edge import Request as Command
from libs.common.permit import Actor, Permit
from libs.common.seal import Keyring
from libs.common.store.reading import Reader
from libs.common.store.seam import Committed
from libs.common.web import problems, routes, tokens
from libs.common.web.asked import Asked, Asks, Doing, Here, does
from libs.common.web.fields import In
from libs.common.web.stream import Say, Stream
from services.sharing import access
from services.sharing.board import loads, rules
from services.sharing.board.loads import View
from services.sharing.board.rules import Door, Session
from services.sharing.board.tables import BoardLink
from services.sharing.clocks.rules import LAMPS
from services.sharing.feeds import loads as feeds
from services.sharing.picture import rules as picture
from services.sharing.readers import rules as forms
from services.sharing.readers.loads import Arrivals

COOKIE = "liandong-board"
#: Nothing comes from elsewhere, nothing runs that is not a file of ours, and no page may stand in another.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
#: What a browser is given beside the pages.
_ASSETS = {"board.css": "text/css", "board.js": "text/javascript", "icon.svg": "image/svg+xml"}

router = routes.router(prefix="", tag="态势板")


class NoSession(tokens.Unauthenticated):
    """No session, or one that has ended."""

    code = "no-session"
    title = "态势板的会话不存在或已结束"


class LinkIn(In):
    """打开态势板: nothing need be said; the link is for whom the token speaks."""


class Page(routes.StrictRoute):
    """A route that answers people: a refusal is a page too, and every answer says what a browser may do."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The strict handler, for a browser."""
        strict = super().get_route_handler()

        async def page(request: Request) -> Response:
            try:
                answer = await strict(request)
            except errors.Refusal as why:
                answer = _sorry(why)
            for name, value in _HEADERS.items():
                answer.headers[name] = value
            answer.headers.setdefault("cache-control", "no-store")
            return answer

        return page


@dataclass(frozen=True, slots=True)
class Looks(Asks):
    """The dependency behind `looks`: who asks is whom the cookie names, and no token is looked at."""

    async def __call__(self, http: Request) -> Asked:  # type: ignore[override]
        """The question of somebody with a session. Raises NoSession."""
        return Asked(http, session(http).actor, self.action)


def looks(action: str) -> Depends:
    """Declare what a page is for."""
    return Depends(Looks(action))


def session(http: Request) -> Session:
    """The session of a request, judged now. Raises NoSession."""
    here: Here = http.app.state.here
    cookie = http.cookies.get(COOKIE, "")
    found = rules.unsealed(_key(here.keyring, rules.SESSIONS), cookie, clock.Clock().now())
    if found is None:
        raise NoSession("请在命令行执行 liandong open，用得到的链接打开")
    return found


def _key(keyring: Keyring, purpose: str) -> bytes:
    return keyring.tokens.derive(purpose)


async def _load_door(read: Reader, request: Command[LinkIn | None]) -> Loaded[Door]:
    door = await loads.door(read, request.at.now)
    return Loaded(await feeds.situation(read, request.actor), door)


def _invite(s: Door, request: Command[LinkIn | None]) -> Change:
    return rules.invite(s, by=request.actor, at=request.at)


def _invited(change: Change, permit: Permit) -> Rendered:
    link = change.written(BoardLink)
    return Rendered({"id": link.id, "expires_at": picture.instant(link.expires_at), "href": None}, status=201)


INVITE = Verb(
    "board.open", lambda request: ["/".join(rules.DOOR)], _load_door, access.permit, _invite, _invited
)


@router.post("/v1/board/links", status_code=201)
async def open_board(doing: Annotated[Doing, does("board.open")], body: LinkIn | None = None) -> Response:
    """一次性链接：60 秒内打开一次，得到持有人本人的态势板会话；链接只在第一次答复中给出。"""
    key = _key(doing.here.keyring, rules.LINKS)

    def secret(said: dict[str, Any]) -> dict[str, Any]:
        return {**said, "href": f"/board/enter/{rules.ticket(key, said['id'])}"}

    return await doing.do(INVITE, body, once=secret)


pages = routes.router(prefix="", tag="态势板")
pages.route_class = Page


@pages.get("/board/enter/{ticket}", include_in_schema=False)
async def enter(http: Request, ticket: str) -> Response:
    """用链接换会话：链接只能用一次。"""
    here: Here = http.app.state.here
    link = await _used(here, ticket)
    if link is None:
        raise NoSession("链接无效、已用过或已过期；请重新执行 liandong open")
    begun = rules.session(link, clock.Clock().now())
    # The cookie is Strict, so the way on begins at a page of ours: a redirect would be of whoever led here.
    answer = _page("enter.html", http)
    answer.set_cookie(
        COOKIE,
        rules.sealed(_key(here.keyring, rules.SESSIONS), begun),
        max_age=int(rules.SESSION_LIFE.total_seconds()),
        path="/board",
        secure="https" in (http.url.scheme, here.settings.base_url("sharing").partition(":")[0]),
        httponly=True,
        samesite="strict",
    )
    return answer


async def _used(here: Here, ticket: str) -> BoardLink | None:
    """The link of a ticket, used now; None where that cannot be."""
    id_ = rules.link_of(_key(here.keyring, rules.LINKS), ticket)
    while id_ is not None:
        async with here.store.reading() as read:
            door = await read.head(*rules.DOOR)
            link = await read.one(BoardLink, id=id_)
        if link is None or link.expires_at <= here.clock.now():
            return None
        if isinstance(await here.store.commit(rules.enter(door, link)), Committed):
            return link
    return None


@pages.get("/board/assets/{name}", include_in_schema=False)
async def asset(name: str) -> Response:
    """样式、脚本和图标。"""
    if name not in _ASSETS:
        raise errors.NotFound
    return Response(_file(name), media_type=_ASSETS[name], headers={"cache-control": "no-cache"})


@pages.get("/board", include_in_schema=False)
async def board(asked: Annotated[Asked, looks("board.read")], http: Request) -> Response:
    """态势板；Accept: text/event-stream 得到事件流，说有新的记录。"""
    if forms.chosen(http.headers.get("accept", "")) == "stream":
        return await _stream(http, asked)
    async with asked.reading() as read:
        view = await loads.view(read, asked.actor, asked.action, asked.at.now)
        snapshot, lines = await loads.lines(view)
        pairs = await loads.pairs(view)
        shown = {
            "snapshot": snapshot,
            "matrix": rules.matrix(lines, snapshot, pairs),
            "pairs": pairs[:10],
            "due": [rules.due(one, view.names, view.now) for one in await loads.due(view, 12)],
            "told": [rules.told(one, view.names, view.now) for one in await loads.happened(view, 20)],
            "disputes": _standing(view, await loads.cases(view, disputed=True)),
            "returned": _standing(view, await loads.cases(view, returns=2)),
            "bars": rules.bars(lines, snapshot, 12),
            "fresh": rules.ago(snapshot.as_of, view.now),
        }
    totals = rules.totals(lines, snapshot)
    ring, waited = rules.ring(totals.lights), rules.ago(totals.waiting_since, view.now)
    return _page("county.html", http, view=view, totals=totals, ring=ring, waited=waited, **shown)


@pages.get("/board/agencies/{agency}", include_in_schema=False)
async def agency(
    asked: Annotated[Asked, looks("board.read")], http: Request, agency: Annotated[str, Path()]
) -> Response:
    """一个乡镇（街道）或部门。"""
    async with asked.reading() as read:
        view = await loads.view(read, asked.actor, asked.action, asked.at.now)
        snapshot, lines = await loads.lines(view)
        line = next((line for line in lines if line.agency == agency), None)
        if line is None:
            raise errors.NotFound
        concerning = await loads.due(view, loads.MOST, concerning=agency)
        shown = {
            "line": line,
            "snapshot": snapshot,
            "lights": snapshot.lights_of(line),
            "held": {
                zh: snapshot.count("held", line, s).n for s, zh in rules.STAGES.items() if s in picture.OPEN
            },
            "must": [rules.due(one, view.names, view.now) for one in concerning if one.agency == agency],
            "waits": [rules.due(one, view.names, view.now) for one in concerning if one.awaits == agency],
            "cases": _standing(view, await loads.cases(view, holder=agency)),
            "transfers": [
                rules.waiting(one, view.names, view.now) for one in await loads.transfers(view, agency)
            ],
            "fresh": rules.ago(snapshot.as_of, view.now),
        }
    return _page("agency.html", http, view=view, ring=rules.ring(snapshot.lights_of(line)), **shown)


@pages.get("/board/cases/{case}", include_in_schema=False)
async def case(
    asked: Annotated[Asked, looks("board.read")], http: Request, case: Annotated[str, Path()]
) -> Response:
    """一个案件的经过和时限。"""
    async with asked.reading() as read:
        view = await loads.view(read, asked.actor, asked.action, asked.at.now)
        file = await loads.file(view, case)
        snapshot, _ = await loads.lines(view)
    return _page(
        "case.html",
        http,
        view=view,
        snapshot=snapshot,
        case=case,
        standing=rules.standing(file.standing, view.names, view.now) if file.standing else None,
        told=[rules.told(one, view.names, view.now) for one in file.entries],
        due=[rules.due(one, view.names, view.now) for one in file.clocks],
        fresh=rules.ago(snapshot.as_of, view.now),
    )


def _standing(view: View, cases: list[Any]) -> list[rules.Standing]:
    return [rules.standing(one, view.names, view.now) for one in cases]


async def _stream(http: Request, asked: Asked) -> Response:
    """Word that the log has grown, for as long as session and right last: the page then asks for itself."""
    arrivals: Arrivals = http.app.state.arrivals

    async def newest() -> int | None:
        """The end of the log; None where nothing may be said to them any more."""
        try:
            actor: Actor = session(http).actor
            async with asked.reading() as read:
                access.permit(actor, asked.action, await feeds.situation(read, actor))
                return await feeds.end(read)
        except (errors.Refusal, errors.Transient):
            return None

    if await newest() is None:
        raise errors.NotFound

    async def tell(say: Say) -> None:
        seconds = asked.here.settings.stream_seconds * random.uniform(0.8, 1.2)
        await _follow(arrivals, newest, say, until=monotonic() + seconds)

    return Stream(tell)


async def _follow(
    arrivals: Arrivals, newest: Callable[[], Awaitable[int | None]], say: Say, *, until: float
) -> None:
    """Say where the log ends and where it ends then, until the time is up or nothing may be said."""
    said = -1
    await say(forms.RETRY)
    while monotonic() < until and not arrivals.ended:
        coming = arrivals.expect()
        position = await newest()
        if position is None:
            return
        await say(forms.PING if position == said else b"event: grown\ndata: %d\n\n" % position)
        said = position
        rested_at = min(until, monotonic() + arrivals.ping)
        while not coming.is_set() and monotonic() < rested_at:
            await arrivals.pause(coming, rested_at)


def _sorry(why: errors.Refusal) -> Response:
    """A refusal, for people; what one may not know of looks like what does not exist."""
    status = problems.status_of(type(why))
    detail = errors.NotFound.title if isinstance(why, errors.NotFound) else why.detail
    text = _templates().get_template("sorry.html").render(title=why.title, detail=detail, status=status)
    headers = {"www-authenticate": tokens.Missing.challenge} if status == 401 else {}
    return HTMLResponse(text, status, headers)


def _page(name: str, http: Request, **shown: Any) -> HTMLResponse:
    now: datetime = http.app.state.here.clock.now()
    said = {"lamps": LAMPS, "clock": f"{now.astimezone(clock.SHANGHAI):%m月%d日 %H:%M}", **shown}
    return HTMLResponse(_templates().get_template(name).render(said))


@cache
def _templates() -> jinja2.Environment:
    """The pages; whatever is put into one is escaped."""
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: _file(name).decode()),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _file(name: str) -> bytes:
    return resources.files("services.sharing").joinpath("page", name).read_bytes()
