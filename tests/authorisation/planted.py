"""Services with one fault each: routes that stand before the right ones and let too much through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import APIRouter, FastAPI, Query, Response

from libs.common import errors
from libs.common.permit import Actor, Permit
from libs.common.settings import Name
from libs.common.web import paging, problems, routes
from libs.common.web.asked import Asked, Doing, asks, does
from services import embedded
from services.cases import access as cases_access
from services.cases.handover import api as handover
from services.cases.handover import loads as transfers
from services.cases.intake import api as intake
from services.cases.intake import loads as cases
from services.cases.intake.loads import Search
from services.cases.intake.tables import Case
from services.cases.procedure import api as procedure
from services.cases.trace import loads as trace
from services.cases.trace import rules as proving
from services.notify.inbox import loads as notices
from services.notify.inbox.tables import Notice
from services.sharing import access
from services.sharing.feeds import loads as feeds
from services.sharing.feeds import rules as log
from tests.authorisation.world import World


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a service, and the route that has it."""

    service: Name
    plant: Callable[[APIRouter], None]

    def planted(self, world: World) -> FastAPI:
        """The service with the fault: its route is asked before the right one."""
        app = embedded.CREATE[self.service](world.county.parts[self.service])
        router = routes.router(prefix="")
        self.plant(router)
        app.include_router(router)
        app.router.routes.insert(0, app.router.routes.pop())
        return app


def one_relation_more(router: APIRouter) -> None:
    """Who declined a case reads it like who gave it away."""

    @router.get("/v1/cases/{case}")
    async def read_case(asked: Annotated[Asked, asks("case.read")], case: str) -> Response:
        async with asked.reading() as read:
            file, situation = await cases.seen(read, asked.actor, case)
        if cases_access.RETURNED in situation.relations:
            situation = replace(situation, relations=frozenset({cases_access.SENDER}))
        permit = cases_access.permit(asked.actor, asked.action, situation)
        return asked.show(intake.shown(file.case, permit), version=file.head.version)


def no_mask_on_one_way_out(router: APIRouter) -> None:
    """The proof discloses private records to whoever may have a proof."""

    @router.get("/v1/cases/{case}/proof")
    async def prove(asked: Annotated[Asked, asks("case.prove")], case: str) -> Response:
        async with asked.reading() as read:
            file, situation = await cases.seen(read, asked.actor, case)
            cases_access.permit(asked.actor, asked.action, situation)
            found = await trace.trace(read, file.head)
        seal = asked.here.keyring.seal
        return asked.show(proving.bundle(found, seal, {}, disclosed=True, at=asked.at.now))


def too_much_masked(router: APIRouter) -> None:
    """Who is asked to take a case is not told what for."""

    @router.get("/v1/transfers/{transfer}")
    async def read_transfer(asked: Annotated[Asked, asks("transfer.read")], transfer: str) -> Response:
        async with asked.reading() as read:
            facts = await transfers.handover(read, transfer)
            situation = await transfers.seen(read, asked.actor, facts)
        permit = cases_access.permit(asked.actor, asked.action, situation)
        permit = replace(permit, masked=cases_access.TRANSFER_DATA)
        return asked.show(handover.shown(facts.transfer, permit))


def no_permit_on_one_write(router: APIRouter) -> None:
    """Moving a case is left to the procedure's refusals."""

    def anybody(actor: Actor, action: str, situation: object) -> Permit:
        return Permit(action)

    lax = replace(procedure.TAKE, permit=anybody)

    @router.post("/v1/cases/{case}/transitions", status_code=201)
    async def take(
        doing: Annotated[Doing, does("case.move")], case: str, body: procedure.TransitionIn
    ) -> Response:
        return await doing.do(lax, body)


def forbidden_instead_of_absent(router: APIRouter) -> None:
    """A case that is there, and not for the asker, is 403."""

    @router.get("/v1/cases/{case}/timeline")
    async def timeline(asked: Annotated[Asked, asks("case.read")], case: str) -> Response:
        async with asked.reading() as read:
            _, situation = await cases.seen(read, asked.actor, case)
        if cases_access.permits(asked.actor, asked.action, situation) is None:
            raise errors.NotPermitted
        return asked.show({"data": []})


def another_404(router: APIRouter) -> None:
    """The 404 of what one may not see is worded with care, and so tells that it is there."""

    @router.get("/v1/cases/{case}/transitions")
    async def options(asked: Annotated[Asked, asks("case.read")], case: str) -> Response:
        async with asked.reading() as read:
            _, situation = await cases.seen(read, asked.actor, case)
        if cases_access.permits(asked.actor, asked.action, situation) is None:
            return problems.problem(404, "not-found", "没有找到", "案件不存在，或无权查看")
        return asked.show({})


def page_cut_before_it_is_filtered(router: APIRouter) -> None:
    """A list takes a page of all cases, and leaves out of it what its reader may not see."""

    @router.get("/v1/cases")
    async def list_cases(
        asked: Annotated[Asked, asks("case.read")],
        limit: paging.Limit = 50,
        cursor: paging.Cursor = None,
    ) -> Response:
        async with asked.reading() as read:
            own = await cases.listed(read, asked.actor, Search(), limit=200, cursor=None)
            newest = sorted(await read.all(Case), key=lambda case: case.id, reverse=True)
        after = paging.key_of(cursor)[0] if cursor else "~"
        rest = [case for case in newest if case.id < after]
        permits = {one.case.id: one.permit for one in own}
        rows = [intake.shown(case, permits[case.id]) for case in rest[:limit] if case.id in permits]
        following = paging.after(rest[limit - 1].id) if len(rest) > limit else None
        return asked.show({"data": rows, "next": following})


def any_members_notice(router: APIRouter) -> None:
    """Notices are read by whoever knows their number."""

    @router.get("/v1/notices/{notice}")
    async def read_notice(asked: Annotated[Asked, asks("notice.read")], notice: str) -> Response:
        async with asked.reading() as read:
            file = await notices.notice_file(read, notice)
        return asked.show({"id": file.notice.id, "title": file.notice.title})


def counts_of_the_county(router: APIRouter) -> None:
    """Counts are of every agency's notices."""

    @router.get("/v1/inbox/counts")
    async def counts(asked: Annotated[Asked, asks("inbox.read")]) -> Response:
        async with asked.reading() as read:
            found = await read.all(Notice)
        unread = sum(notice.state == "unread" for notice in found)
        by_severity = {"info": unread}
        return asked.show(
            {"unread": unread, "received": len(found) - unread, "unread_by_severity": by_severity}
        )


def telling_stub(router: APIRouter) -> None:
    """What is withheld keeps its subject."""

    @router.get("/v1/feeds/{feed}")
    async def follow(
        asked: Annotated[Asked, asks("feed.read")],
        feed: str,
        after: Annotated[int, Query(alias="lastEventId")] = 0,
        limit: int = 100,
    ) -> Response:
        async with asked.reading() as read:
            own = await feeds.situation(read, asked.actor)
            if not access.permits(asked.actor, asked.action, own):
                return asked.show([])
            seen = await feeds.seen(read, asked.actor, own, await feeds.page(read, feed, after, limit))
        events = [
            log.shown(entry, feed)
            if access.permits(asked.actor, "entry.read", situation)
            else {**log.withheld(entry.position, feed), "subject": entry.stream}
            for entry, situation in seen
        ]
        return asked.show(events)


#: Faults by the operation whose cells must show it, with the words in which they do.
OF_OPERATION: Mapping[str, tuple[Fault, str]] = {
    "case.read": (Fault("cases", one_relation_more), "200 instead of 404"),
    "case.prove": (Fault("cases", no_mask_on_one_way_out), "shows [('audit'"),
    "transfer.read": (Fault("cases", too_much_masked), "hides [('ground'"),
    "case.move": (Fault("cases", no_permit_on_one_write), "409 instead of 404"),
    "case.timeline": (Fault("cases", forbidden_instead_of_absent), "403 instead of 404"),
    "case.outlook": (Fault("cases", another_404), "the 404 is not that of what does not exist"),
    "notice.read": (Fault("notify", any_members_notice), "200 instead of 404"),
}
CUT_PAGE = Fault("cases", page_cut_before_it_is_filtered)
COUNTS = Fault("notify", counts_of_the_county)
STUBS = Fault("sharing", telling_stub)
