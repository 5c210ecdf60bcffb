"""The forms of a feed: which one is asked for, and that none of them is broken by what an entry says."""

from __future__ import annotations

from datetime import UTC, datetime
from xml.etree import ElementTree

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sharing.feeds.tables import LogEntry
from services.sharing.readers import rules
from services.sharing.readers.rules import Told

NS = {"": "http://www.w3.org/2005/Atom", "fh": "http://purl.org/syndication/history/1.0"}
AT = datetime(2026, 3, 2, 1, 30, tzinfo=UTC)


def an_entry(position: int = 1, *, type_: str = "liandong.case.filed.v1", **data: object) -> LogEntry:
    return LogEntry(
        position=position,
        event_id=f"case/c1/{position}",
        source="/services/cases",
        type=type_,
        stream="case/c1",
        seq=position,
        feed="cases",
        county=False,
        recorded_at=AT,
        attributes={"type": type_, "subject": "case/c1"},
        data=data,
    )


def told(entry: LogEntry, *, visible: bool = True) -> Told:
    return rules.told(entry, "cases", visible=visible)


def read(document: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(document)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "batch"),
        ("*/*", "batch"),
        ("application/cloudevents-batch+json", "batch"),
        ("text/event-stream", "stream"),
        ("Text/Event-Stream; charset=utf-8", "stream"),
        ("application/atom+xml", "atom"),
        ("application/atom+xml, text/event-stream;q=0.5", "atom"),
        ("application/atom+xml;q=0.4, text/event-stream;q=0.5", "stream"),
        ("text/event-stream;q=0", "batch"),
        ("text/event-stream;q=x", "batch"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "batch"),
    ],
)
def test_who_does_not_ask_for_another_form_gets_the_batch(accept: str, form: str) -> None:
    assert rules.chosen(accept) == form


@given(st.text())
def test_whatever_is_accepted_there_is_a_form(accept: str) -> None:
    assert rules.chosen(accept) in rules.FORMS


#: Text that has broken feeds of others.
HOSTILE = st.text() | st.sampled_from(
    [
        "</content><entry>",
        "]]>",
        "&amp;&#0;",
        "\x00\x01\x08\x0b\x1f",
        "\ufffe\uffff",
        "\r\n\n: x\rdata: y",
        "\u2028",
    ]
)


@given(HOSTILE, HOSTILE)
def test_an_entry_is_one_event_of_a_stream_whatever_it_says(name: str, value: str) -> None:
    (piece,) = rules.pieces([told(an_entry(7, **{name: value}))])
    head, _, rest = piece.partition(b"\n")
    assert head == b"id: 7"
    assert rest.startswith(b"data: ")
    assert rest.endswith(b"\n\n")
    line = rest[len(b"data: ") : -2]
    assert not {b"\n", b"\r"} & {line[n : n + 1] for n in range(len(line))}
    assert orjson.loads(line)["data"] == {name: value}


@given(HOSTILE, HOSTILE, st.sampled_from(["liandong.case.filed.v1", "<&\x00\ufffe", "x\ry"]))
def test_an_entry_is_one_entry_of_atom_whatever_it_says(name: str, value: str, type_: str) -> None:
    document = rules.atom("cases", 1, 1, [told(an_entry(7, type_=type_, **{name: value}))], subscription=True)
    (entry,) = read(document).findall("entry", NS)
    event = orjson.loads(entry.findtext("content", "", NS))
    assert (event["id"], event["type"], event["data"]) == ("7", type_, {name: value})


def test_a_stub_has_its_position_and_not_even_its_time() -> None:
    shown, stub = told(an_entry(1)), told(an_entry(2, secret="x"), visible=False)
    document = read(rules.atom("cases", 1, 1, [shown, stub], subscription=True))
    entry = document.findall("entry", NS)[0]
    assert {(part.tag.partition("}")[2], part.text) for part in entry} == {
        ("id", "urn:liandong:log:2"),
        ("title", "2"),
        ("updated", "1970-01-01T00:00:00.000000+00:00"),
        ("content", stub.event.decode()),
    }
    assert document.findtext("updated", "", NS) == AT.isoformat(timespec="microseconds")
    only = read(rules.atom("cases", 1, 1, [stub], subscription=True))
    assert only.findtext("updated", "", NS) == "1970-01-01T00:00:00.000000+00:00"


@pytest.mark.parametrize(
    ("page", "newest", "subscription", "links", "archive"),
    [
        (1, 1, True, {"self": "", "current": ""}, False),
        (1, 1, False, {"self": "/archives/1", "current": ""}, False),
        (3, 3, True, {"self": "", "current": "", "prev-archive": "/archives/2"}, False),
        (1, 3, False, {"self": "/archives/1", "current": "", "next-archive": "/archives/2"}, True),
        (
            2,
            3,
            False,
            {
                "self": "/archives/2",
                "current": "",
                "prev-archive": "/archives/1",
                "next-archive": "/archives/3",
            },
            True,
        ),
    ],
)
def test_pages_lead_to_one_another(
    page: int, newest: int, subscription: bool, links: dict[str, str], archive: bool
) -> None:
    document = read(rules.atom("cases", page, newest, [], subscription=subscription))
    found = {link.get("rel"): link.get("href") for link in document.findall("link", NS)}
    assert found == {rel: f"/v1/feeds/cases{place}" for rel, place in links.items()}
    assert (document.find("fh:archive", NS) is not None) == archive


@pytest.mark.parametrize(("position", "page"), [(0, 1), (1, 1), (100, 1), (101, 2), (200, 2), (201, 3)])
def test_a_page_is_a_range_of_positions(position: int, page: int) -> None:
    assert rules.page_of(position) == page
