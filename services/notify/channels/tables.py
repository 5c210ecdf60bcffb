"""Endpoints, what is sent to them, and whose each stream is, as rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, cast

from sqlalchemy import Index, LargeBinary
from sqlmodel import Field, SQLModel

from libs.common.store.schema import Entry, Position, instant, json_column


class Endpoint(Entry):
    """An address of an agency's own system to which events are sent (推送端点)."""

    TABLE: ClassVar[str] = "endpoints"
    id: str = Field(primary_key=True)
    agency: str = Field(index=True)
    name: str
    url: str  #: may hold a token of the receiver's: shown to its owner alone
    subscription: dict[str, Any] = json_column()  #: the fields of libs.common.subscription.Subscription
    state: str  #: unverified, enabled, disabled, removed
    why: str = ""  #: of disabled: owner, gone, exhausted
    secret: int = 1  #: which of the derived secrets signs; none is stored
    former: int = 0  #: the one before, which also signs for a while; 0 for none
    former_until: datetime | None = instant(nullable=True)
    registered_at: datetime = instant()


class EndpointRow(Endpoint, table=True): ...


class Line(Entry):
    """How sending to an endpoint goes: its messages stand in one line, and only the first is tried."""

    TABLE: ClassVar[str] = "lines"
    endpoint: str = Field(primary_key=True)
    tries: int = 0  #: of the first message, since it last went well
    failing_since: datetime | None = instant(nullable=True)
    warned: int = 0  #: how many of the warnings were given since then
    due_at: datetime = instant()


class LineRow(Line, table=True): ...


class Message(Entry):
    """One event for one endpoint, as it is sent; the same message keeps its id however often it is sent."""

    TABLE: ClassVar[str] = "messages"
    position: int = Field(default=0, primary_key=True, sa_type=cast(Any, Position))  #: given by the commit
    id: str = Field(unique=True)  #: UUIDv5 of endpoint and event
    endpoint: str
    kind: str  #: event, test, challenge
    event: str = ""  #: the event's id
    type: str
    body: bytes = Field(sa_type=LargeBinary)  #: a structured CloudEvent; of a challenge nothing is kept
    state: str = "waiting"  #: waiting, delivered, failed
    tries: int = 0  #: deliveries so far
    written_at: datetime = instant()
    done_at: datetime | None = instant(nullable=True)


class MessageRow(Message, table=True):
    __table_args__ = (
        Index("messages_of_line", "endpoint", "state", "position"),
        Index("messages_of_event", "event", "endpoint"),
    )


class Delivery(Entry):
    """One attempt to deliver a message (推送)."""

    TABLE: ClassVar[str] = "deliveries"
    id: str = Field(primary_key=True)  #: the message's id, a dot, and which attempt it was
    message: str = Field(index=True)
    number: int
    at: datetime = instant()
    outcome: str  #: a key of channels.rules.OUTCOMES
    status: int  #: of the receiver's answer; 0 for none
    milliseconds: int


class DeliveryRow(Delivery, table=True): ...


class Audience(Entry):
    """Who sees a stream from where on, and what subscriptions ask of it."""

    TABLE: ClassVar[str] = "audiences"
    stream: str = Field(primary_key=True)
    rights: list[dict[str, Any]] = json_column()  #: fields of channels.rules.Right, without the stream
    power: str = ""
    territory: str = ""


class AudienceRow(Audience, table=True): ...


ROWS: tuple[type[SQLModel], ...] = (EndpointRow, LineRow, MessageRow, DeliveryRow, AudienceRow)
