"""What a reader wants of that which they may see: one filter, the same for a webhook and for a feed.

A subscription leaves out; it never lets in. A field that names nothing leaves nothing out.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from libs.common.contracts.event import CATALOGUE, Event
from libs.common.web.fields import In, Items, PowerCode

#: What an agency is to a transfer that it offered: no right of its own, it holds the case.
SENDER = "sender"

Relation = Literal["holder", "recipient", "sender", "addressee", "county", "coordinating"]

#: Most values of one field.
MOST = 100


def _said(type_: str) -> str:
    if type_ not in CATALOGUE:
        raise PydanticCustomError("unknown_event", "没有这种事件")
    return type_


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) != len(values):
        raise PydanticCustomError("repeated", "同一项不得重复")
    return values


#: A type of the published language.
EventType = Annotated[
    str, AfterValidator(_said), WithJsonSchema({"type": "string", "enum": sorted(CATALOGUE)})
]
#: The beginning of a division code: province, city, county or township (GB/T 2260, GB/T 10114).
Territory = Annotated[str, Field(pattern=r"^[1-9][0-9]([0-9]{2}([0-9]{2}([0-9]{3})?)?)?$")]


class Subject(NamedTuple):
    """An event as a subscription judges it."""

    type: str
    power: str  #: of the case, or of the grant; empty for none
    territory: str
    relations: frozenset[str]  #: what the reader is to it


class Subscription(In):
    """Which events; all of the fields that name something must agree."""

    types: Annotated[Items[EventType], Field(max_length=MOST), AfterValidator(_distinct)] = ()
    powers: Annotated[Items[PowerCode], Field(max_length=MOST), AfterValidator(_distinct)] = ()
    #: Beginnings of division codes: a county's names all of its townships.
    territories: Annotated[Items[Territory], Field(max_length=MOST), AfterValidator(_distinct)] = ()
    relations: Annotated[Items[Relation], Field(max_length=MOST), AfterValidator(_distinct)] = ()

    def leaves_out(self, subject: Subject) -> str:
        """The first field that the event does not agree with; empty where it is wanted."""
        if self.types and subject.type not in self.types:
            return "types"
        if self.powers and subject.power not in self.powers:
            return "powers"
        if self.territories and not subject.territory.startswith(self.territories):
            return "territories"
        if self.relations and not subject.relations.intersection(self.relations):
            return "relations"
        return ""


def relations(event: Event | None, agency: str, known: frozenset[str]) -> frozenset[str]:
    """What the agency is to the event for a subscription: as it sees it, and whether it sent it."""
    return known | {SENDER} if getattr(event, "from_agency", "") == agency else known
