"""Who may see which entry of the log, over whole stories; expectations written by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pytest

from libs.common import audience, edge
from libs.common.change import Change, Write
from libs.common.clock import Clock
from libs.common.contracts import cases as said
from libs.common.contracts.event import CATALOGUE
from libs.common.contracts.notify import NoticeReceived
from libs.common.contracts.sharing import PictureRebuilt
from libs.common.log import envelope
from libs.common.log.seam import Record
from libs.common.store.reading import Known
from services.sharing.feeds import rules
from services.sharing.feeds.tables import EarlyEntries, LogEntry, Right
from services.sharing.picture import reacts
from tests.worlds.desk import Speaker
from tests.worlds.reading_room import DEPARTMENT, OFFICE, OTHER, STRANGER, TOWNSHIP, CaseTold, an_agency

HEARS = edge.Hears(
    group="sharing",
    topics=(),
    reactions=reacts.reactions(),
    otherwise=reacts.otherwise(),
    catalogue=CATALOGUE,
)


@dataclass
class Heard:
    """What was decided about a sequence of events, heard one after the other by one who knew nothing."""

    change: Change

    @classmethod
    def of(cls, records: Iterable[Record]) -> Heard:
        events = [envelope.read(record) for record in records]
        change, report = edge.fold(Known([], []), HEARS, events, Clock(), {})
        assert report.applied == events
        return cls(change)

    @property
    def log(self) -> list[LogEntry]:
        return [
            LogEntry.model_construct(**{**row.values, "position": n})
            for n, row in enumerate(self.change.numbered, 1)
        ]

    def kept(self, kind: type[Right] | type[EarlyEntries]) -> list[Right | EarlyEntries]:
        rows = (row for row in self.change.folded_rows() if row.write is not Write.DELETE)
        return [row.entry for row in rows if isinstance(row.entry, kind)]

    def seen_by(self, agency: str) -> list[str]:
        """The events that the agency has any relation to."""
        own = [r for r in self.kept(Right) if isinstance(r, Right) and r.agency == agency]
        seen = [entry for entry in self.log if audience.relations(entry, own)]
        return [entry.event_id for entry in seen if not entry.stream.startswith("disclosure/")]

    def told_of_the_past(self, agency: str) -> list[str]:
        """What is disclosed to the agency and withdrawn from it: behind which event, and which seqs."""
        own = [r for r in self.kept(Right) if isinstance(r, Right) and r.agency == agency]
        told: dict[tuple[str, str], list[int]] = {}
        for entry in self.log:
            if entry.stream.startswith("disclosure/") and audience.relations(entry, own):
                cause = entry.attributes["causationid"].rpartition("/")[2]
                told.setdefault((cause, entry.type.split(".")[2]), []).extend(entry.data["seqs"])
        return [" ".join([*about, *map(str, seqs)]) for about, seqs in told.items()]


def numbers(ids: Sequence[str]) -> str:
    """The seqs of events of one stream, in short."""
    return " ".join(id_.rpartition("/")[2] for id_ in ids)


@pytest.fixture
def case() -> CaseTold:
    return CaseTold(Speaker())


def story(case: CaseTold) -> list[Record]:
    """Offered three times from the township, once from the department."""
    return [
        case.clue(),  # 1
        case.filed(),
        case.offered(DEPARTMENT),  # 3
        case.returned(DEPARTMENT),
        case.offered(OTHER),  # 5
        case.withdrawn(OTHER),
        case.offered(DEPARTMENT),  # 7
        case.accepted(DEPARTMENT),
        case.investigated(),  # 9
        case.offered(OTHER),
        case.accepted(OTHER),  # 11
        case.decided(),
        case.closed(),  # 13
    ]


#: Each step of the story: what happened, and who sees it.
STORY = """
 1 clue registered by the township          | township
 2 filed                                    | township
 3 offered to the department                | township department
 4 returned by the department               | township department
 5 offered to the other                     | township other
 6 withdrawn                                | township other
 7 offered to the department again          | township department
 8 accepted by the department               | township department
 9 investigated                             | township department
10 offered by the department to the other   | township department other
11 accepted by the other                    | township department other
12 decided                                  | township department other
13 closed                                   | township department other
"""

WHO = {"township": TOWNSHIP, "department": DEPARTMENT, "other": OTHER, "office": OFFICE}


@pytest.mark.parametrize("who", WHO)
def test_over_a_whole_story_each_sees_what_happened_while_it_was_party(who: str, case: CaseTold) -> None:
    expected = [
        line.split()[0] for line in STORY.strip().splitlines() if who in line.partition("|")[2].split()
    ]
    assert numbers(Heard.of(story(case)).seen_by(WHO[who])) == " ".join(expected)


#: What an agency is shown of a past that it did not see, and what it is told to forget of it.
PAST = {
    "township": [],
    "department": [
        "3 disclosed 1 2",
        "4 withdrawn 1 2",
        "7 disclosed 1 2 5 6",  # 3 and 4 it saw, and was never told to forget
    ],
    "other": [
        "5 disclosed 1 2 3 4",
        "6 withdrawn 1 2 3 4",
        "10 disclosed 1 2 3 4 7 8 9",
    ],
    "office": [],
}


@pytest.mark.parametrize("who", WHO)
def test_a_right_that_begins_later_shows_what_was_before_and_its_end_takes_that_back(
    who: str, case: CaseTold
) -> None:
    assert Heard.of(story(case)).told_of_the_past(WHO[who]) == PAST[who]


def test_what_is_disclosed_stands_right_behind_the_offer_and_before_word_of_it(case: CaseTold) -> None:
    clue, offered = case.clue(), case.offered(DEPARTMENT)
    heard = Heard.of([case.noticed(DEPARTMENT, 2), clue, offered])
    expected = ["case/c1/1", "case/c1/2", "disclosure/c1.t1/1", "notice/c1n1/1"]
    assert [entry.event_id for entry in heard.log] == expected


def test_who_goes_on_seeing_a_case_is_disclosed_nothing_and_told_to_forget_nothing(case: CaseTold) -> None:
    records = [case.clue(), case.offered(DEPARTMENT), case.accepted(DEPARTMENT)]
    records += [case.offered(TOWNSHIP), case.returned(TOWNSHIP), case.offered(TOWNSHIP)]
    assert Heard.of(records).told_of_the_past(TOWNSHIP) == []


def test_an_entry_of_a_disclosure_is_only_what_sharing_itself_wrote(case: CaseTold) -> None:
    heard = Heard.of([case.clue(), case.offered(DEPARTMENT)])
    disclosed = heard.log[-1]
    assert rules.named(disclosed) == ("case/c1", [1])
    assert rules.named(disclosed.but(source="/services/cases", data={})) is None
    assert rules.named(heard.log[0]) is None


def test_what_was_withheld_stays_withheld_and_what_was_seen_stays_seen(case: CaseTold) -> None:
    records = story(case)
    for agency in (TOWNSHIP, DEPARTMENT, OTHER):
        whole = Heard.of(records).seen_by(agency)
        for n in range(1, len(records)):
            so_far = Heard.of(records[:n]).seen_by(agency)
            assert so_far == [id_ for id_ in whole if int(id_.rpartition("/")[2]) <= n]


def test_who_held_a_case_before_and_declines_it_later_still_sees_it(case: CaseTold) -> None:
    records = [case.clue(), case.offered(DEPARTMENT), case.accepted(DEPARTMENT)]
    records += [case.offered(TOWNSHIP), case.returned(TOWNSHIP), case.filed()]
    assert numbers(Heard.of(records).seen_by(TOWNSHIP)) == "1 2 3 4 5 6"


def test_who_is_asked_for_help_sees_what_is_said_of_that_and_nothing_else_of_the_case(
    case: CaseTold,
) -> None:
    records = [case.clue(), case.requested(OTHER), case.filed(), case.extended(OTHER), case.investigated()]
    records += [case.replied(OTHER), case.requested(DEPARTMENT), case.decided()]
    heard = Heard.of(records)
    assert numbers(heard.seen_by(OTHER)) == "2 4 6"
    assert numbers(heard.seen_by(DEPARTMENT)) == "7"
    assert numbers(heard.seen_by(TOWNSHIP)) == "1 2 3 4 5 6 7 8"


@pytest.mark.parametrize(
    ("to", "township", "department", "other"),
    [
        (TOWNSHIP, "1 2 3 4 5 6 7 8 9", "2 3 5 6 7 8", ""),
        (DEPARTMENT, "1 2 3 4 5 6 7 8 9", "2 3 5 6 7 8 9", ""),
        (OTHER, "1 2 3 4 5 6 7 8 9", "2 3 5 6 7 8", "8 9"),
    ],
    ids=["to who held it", "to who declined it", "to a third"],
)
@pytest.mark.parametrize("ends", ["ruled", "settled"])
def test_who_declined_sees_the_dispute_and_from_its_end_only_who_got_the_case(
    case: CaseTold, ends: str, to: str, township: str, department: str, other: str
) -> None:
    records = [case.clue(), case.offered(DEPARTMENT), case.returned(DEPARTMENT), case.filed()]
    records += [case.disputed(DEPARTMENT), case.investigated()]
    records += [case.requested(STRANGER), getattr(case, ends)(to, against=DEPARTMENT), case.decided()]
    heard = Heard.of(records)
    assert numbers(heard.seen_by(TOWNSHIP)) == township
    assert numbers(heard.seen_by(DEPARTMENT)) == department
    assert numbers(heard.seen_by(OTHER)) == other


def test_who_led_the_case_for_a_while_still_sees_it_as_who_held_it_before(case: CaseTold) -> None:
    records = [case.clue(), case.offered(DEPARTMENT), case.returned(DEPARTMENT), case.disputed(DEPARTMENT)]
    records += [case.led(DEPARTMENT, against=DEPARTMENT), case.ruled(TOWNSHIP, against=DEPARTMENT)]
    heard = Heard.of([*records, case.investigated()])
    assert numbers(heard.seen_by(DEPARTMENT)) == "2 3 4 5 6 7"


def test_a_right_says_as_what_an_agency_came_to_the_stream(case: CaseTold) -> None:
    heard = Heard.of([case.clue(), case.offered(DEPARTMENT), case.noticed(DEPARTMENT, 2)])
    relations = {(r.agency, r.relation) for r in heard.kept(Right) if isinstance(r, Right)}
    assert relations == {(TOWNSHIP, "holder"), (DEPARTMENT, "recipient"), (DEPARTMENT, "addressee")}
    assert {relation for _, relation in relations} == {
        audience.HOLDER,
        audience.RECIPIENT,
        audience.ADDRESSEE,
    }


def test_a_notice_is_for_its_agency_and_the_receipt_for_all_who_saw_what_it_tells_of(case: CaseTold) -> None:
    heard = Heard.of(
        [
            case.clue(),
            case.offered(OTHER),
            case.withdrawn(OTHER),
            case.offered(DEPARTMENT),
            case.noticed(DEPARTMENT, 4),
            case.signed(DEPARTMENT, 4),
        ]
    )
    issued, received = "notice/c1n1/1", "notice/c1n1/2"
    assert {issued, received} <= set(heard.seen_by(DEPARTMENT))
    assert issued not in heard.seen_by(TOWNSHIP)
    assert received in heard.seen_by(TOWNSHIP)
    assert {issued, received} & set(heard.seen_by(OTHER)) == set()


def test_events_of_the_register_are_for_every_agency() -> None:
    speaker = Speaker()
    heard = Heard.of(
        [
            speaker.say(an_agency(TOWNSHIP), f"agency/{TOWNSHIP}"),
            speaker.say(PictureRebuilt(generation=2, position=1), "picture/current"),
        ]
    )
    assert heard.seen_by("nobody in particular") == [f"agency/{TOWNSHIP}/1"]


@pytest.mark.parametrize("type_", sorted(CATALOGUE))
def test_only_the_register_is_for_everybody(type_: str) -> None:
    registers = {"agency", "officer", "power", "grant", "calendar", "limit", "policy"}
    assert audience.is_of_county(type_) == (type_.split(".")[1] in registers)


class Rumour:
    """An event of a type that only somebody newer knows."""

    TYPE: ClassVar[str] = "liandong.rumour.spread.v1"
    SOURCE: ClassVar[str] = said.SOURCE

    def model_dump(self, *, mode: str, exclude_none: bool) -> dict[str, str]:
        return {"case": "c1"}


def test_an_unknown_type_enters_too_and_is_for_the_parties_of_its_stream(case: CaseTold) -> None:
    speaker = case.speaker
    heard = Heard.of([case.clue(), speaker.say(Rumour(), case.stream), speaker.say(Rumour(), "rumour/r1")])
    assert [entry.event_id for entry in heard.log] == ["case/c1/1", "case/c1/2", "rumour/r1/1"]
    assert heard.seen_by(TOWNSHIP) == ["case/c1/1", "case/c1/2"]


def test_word_of_an_event_waits_for_the_event(case: CaseTold) -> None:
    clue, offered = case.clue(), case.offered(DEPARTMENT)
    issued, signed, filed = case.noticed(DEPARTMENT, 2), case.signed(DEPARTMENT, 2), case.filed()
    waiting = Heard.of([issued, clue, signed])
    assert [entry.event_id for entry in waiting.log] == ["case/c1/1"]
    heard = Heard.of([issued, clue, signed, offered, filed])
    disclosed = "disclosure/c1.t1/1"
    expected = ["case/c1/1", "case/c1/2", disclosed, "notice/c1n1/1", "notice/c1n1/2", "case/c1/3"]
    assert [entry.event_id for entry in heard.log] == expected
    assert heard.kept(EarlyEntries) == []
    assert "notice/c1n1/2" in heard.seen_by(TOWNSHIP)


def test_what_waits_for_different_events_goes_with_each(case: CaseTold) -> None:
    clue, offered = case.clue(), case.offered(DEPARTMENT)
    first, second = case.noticed(TOWNSHIP, 1), case.noticed(DEPARTMENT, 2)
    heard = Heard.of([second, first, clue, offered])
    expected = ["case/c1/1", "notice/c1n1/1", "case/c1/2", "disclosure/c1.t1/1", "notice/c1n2/1"]
    assert [entry.event_id for entry in heard.log] == expected


@pytest.mark.parametrize(
    ("about", "event"),
    [
        ("agency/a1", "agency/a1/1"),
        ("case/c1", "case/c2/1"),
        ("case/c1", "case/c1/x"),
        ("case/c1", "case/c1/١"),
        ("case/c1", "case/c1/99999999999"),
    ],
)
def test_word_of_anything_else_waits_for_nothing(about: str, event: str) -> None:
    received = NoticeReceived(
        notice="n",
        receipt="r",
        agency=TOWNSHIP,
        event=event,
        about=about,
        event_chain="",
        notice_digest="",
        signed_at="",
        key="",
        signature="",
    )
    assert audience.told_of(received) is None


def test_a_stub_shows_its_position_and_nothing_else() -> None:
    assert rules.withheld(17, "cases") == {
        "specversion": "1.0",
        "id": "17",
        "source": "/services/sharing/feeds/cases",
        "type": "liandong.entry.withheld.v1",
    }


@pytest.mark.parametrize(
    ("stream", "feed"),
    [
        ("case/c1", "cases"),
        ("notice/n1", "notices"),
        ("agency/a", "register"),
        ("officer/o", "register"),
        ("power/p", "register"),
        ("picture/current", "picture"),
        ("rumour/r", ""),
        ("case", "cases"),
        ("disclosure/c1.t1", "cases"),
    ],
)
def test_a_stream_stands_in_one_feed_beside_all(stream: str, feed: str) -> None:
    assert rules.feed_of(stream) == feed
