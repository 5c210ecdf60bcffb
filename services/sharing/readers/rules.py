"""The forms of a feed: a batch of CloudEvents, a stream of them, and Atom. One sequence of ids in all three.

What a reader may see is decided elsewhere; here it is written down, byte for byte. Pure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple, get_args
from xml.etree import ElementTree

import orjson

from libs.common.contracts.event import CATALOGUE
from services.sharing.feeds import rules as log
from services.sharing.feeds.tables import LogEntry

Form = Literal["batch", "stream", "atom"]
FORMS: tuple[Form, ...] = get_args(Form)

ATOM = "application/atom+xml"
#: What a caller accepts who wants another form than the batch.
MEDIA: Mapping[str, Form] = {"text/event-stream": "stream", ATOM: "atom"}

#: Milliseconds after which a reader whose stream has ended comes back.
RETRY = b"retry: 3000\n\n"
#: Keeps a connection on which nothing happens from being taken for dead.
PING = b": ping\n\n"
#: About so many bytes of a stream are sent in one go.
PIECE = 64 * 1024

#: Positions of the log that a page of Atom covers, whatever feed it is of.
POSITIONS = 100

#: Atom wants a time of every entry, and a stub must not tell its own.
NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)

_NAMESPACES = {
    "xmlns": "http://www.w3.org/2005/Atom",
    "xmlns:fh": "http://purl.org/syndication/history/1.0",
}
#: What XML 1.0 cannot say (2.2), escaped or not.
_UNSAYABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


#: A feed, an agency that follows it, and the form in which it does.
Place = tuple[str, str, Form]


@dataclass(eq=False, slots=True)
class Following:
    """One reader at work."""

    place: Place
    position: int | None = None  #: up to where they have read; None before it is known


class Told(NamedTuple):
    """An entry as a reader gets it: whole, or its position and nothing else."""

    position: int
    event: bytes  #: the CloudEvent, JSON of one line
    frame: bytes  #: the same as an event of a stream
    entry: LogEntry | None  #: None for what is withheld


def told(entry: LogEntry, feed: str, *, visible: bool) -> Told:
    """The entry in this feed, for who may see it or may not."""
    event = orjson.dumps(log.shown(entry, feed) if visible else log.withheld(entry.position, feed))
    frame = b"id: %d\ndata: %b\n\n" % (entry.position, event)
    return Told(entry.position, event, frame, entry if visible else None)


def chosen(accept: str) -> Form:
    """The form that an Accept header asks for (RFC 9110, 12.5.1); whoever does not say gets the batch."""
    best: tuple[float, Form] = (0.0, "batch")
    for part in accept.split(","):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = _weight(parameters)
        if weight > best[0]:
            best = weight, MEDIA.get(media, "batch")
    return best[1]


def _weight(parameters: Iterable[str]) -> float:
    given = next((p.partition("=")[2] for p in parameters if p.startswith("q=")), "1")
    return float(given) if re.fullmatch(r"[01](\.[0-9]{0,3})?", given, re.ASCII) else 0.0


def batch(entries: Iterable[Told]) -> bytes:
    """The entries as a JSON array of CloudEvents."""
    return b"[%b]" % b",".join(one.event for one in entries)


def pieces(entries: Iterable[Told]) -> Iterator[bytes]:
    """The entries as events of a stream, in pieces: what waits for a slow reader is one of them."""
    piece = bytearray()
    for one in entries:
        piece += one.frame
        if len(piece) >= PIECE:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


def page_of(position: int) -> int:
    """The page of Atom on which a position stands, counted from 1; of an empty log the first."""
    return max(1, -(-position // POSITIONS))


def tag(document: bytes) -> str:
    """The entity tag of a document."""
    return f'"{hashlib.sha256(document).hexdigest()[:32]}"'


def atom(feed: str, page: int, newest: int, entries: Sequence[Told], *, subscription: bool) -> bytes:
    """A page of a feed as Atom (RFC 4287), the newest entry first.

    Pages are fixed ranges of positions and linked as RFC 5005 has it: every page before the newest is an
    archive, and nothing that it says ever changes. `subscription`: the document that readers come back to.
    """
    document = ElementTree.Element("feed", _NAMESPACES)
    _say(document, "id", f"urn:liandong:feed:{feed}")
    _say(document, "title", f"联动 · {log.FEEDS[feed].zh}")
    _say(document, "updated", _updated(entries))
    _say(ElementTree.SubElement(document, "author"), "name", "联动")
    if page < newest:
        ElementTree.SubElement(document, "fh:archive")
    for rel, href in _places(feed, page, newest, subscription=subscription):
        ElementTree.SubElement(document, "link", rel=rel, href=href, type=ATOM)
    for one in reversed(entries):
        _add_entry(document, feed, one)
    return bytes(ElementTree.tostring(document, encoding="utf-8", xml_declaration=True))


def _places(feed: str, page: int, newest: int, *, subscription: bool) -> Iterator[tuple[str, str]]:
    here = f"/v1/feeds/{feed}"
    yield "self", here if subscription else f"{here}/archives/{page}"
    yield "current", here
    if page > 1:
        yield "prev-archive", f"{here}/archives/{page - 1}"
    if page < newest:
        yield "next-archive", f"{here}/archives/{page + 1}"


def _updated(entries: Iterable[Told]) -> str:
    """When the newest of those entries was recorded that are shown."""
    at = max((one.entry.recorded_at for one in entries if one.entry), default=NO_TIME)
    return at.isoformat(timespec="microseconds")


def _add_entry(document: ElementTree.Element, feed: str, one: Told) -> None:
    made = ElementTree.SubElement(document, "entry")
    _say(made, "id", f"urn:liandong:log:{one.position}")
    _say(made, "title", f"{_name(one.entry.type)} {one.entry.stream}" if one.entry else str(one.position))
    _say(made, "updated", _updated([one]))
    if one.entry:
        ElementTree.SubElement(made, "category", term=_sayable(one.entry.type))
        href = f"/v1/feeds/{feed}/events/{one.position}"
        ElementTree.SubElement(made, "link", rel="alternate", href=href, type="application/cloudevents+json")
    # What XML cannot say, JSON can escape.
    event = _UNSAYABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", one.event.decode())
    _say(made, "content", event, type="text")


def _name(type_: str) -> str:
    """The Chinese name of a type of events: how its description begins."""
    model = CATALOGUE.get(type_)
    return (model.__doc__ or type_).partition(":")[0].strip(".") if model else type_


def _say(parent: ElementTree.Element, name: str, text: str, **attributes: str) -> None:
    ElementTree.SubElement(parent, name, attributes).text = _sayable(text)


def _sayable(text: str) -> str:
    return _UNSAYABLE.sub("\ufffd", text)
