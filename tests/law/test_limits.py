"""Time limits: the dates that the articles give, worked out by hand on the calendar of 2026."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from libs.common.clock import SHANGHAI
from libs.common.law import limits
from libs.common.law.calendar import Calendar
from libs.common.law.limits import BadLimits, Limit, Pause, Source, Term, Unit
from tests.law.test_calendar import CALENDAR, D

HEADER = "rule,zh,en,length,unit,starts_on,obligor,basis,source,note"


def at(day: str, clock: str = "10:00") -> datetime:
    return datetime.fromisoformat(f"{day}T{clock}:00").replace(tzinfo=SHANGHAI)


def ends(rule: str, start: str, *pauses: Pause, calendar: Calendar = CALENDAR) -> Term:
    return limits.term(limits.table()[rule], at(start), calendar, pauses)


def a_limit(length: int, unit: Unit, obligor: str = "agency") -> Limit:
    return Limit("r", "期限", "limit", length, unit, "x", obligor, "行政处罚法第六十条", Source.STATUTE)


@pytest.mark.parametrize(
    ("rule", "start", "day"),
    [
        ("pen.hearing_request", "2026-02-12", "2026-02-26"),  # over the working Saturday and the festival
        ("pen.serve", "2026-09-24", "2026-10-12"),
        ("pen.evidence_preserve", "2026-11-02", "2026-11-11"),
        ("pen.cash_officer", "2026-11-05", "2026-11-09"),
        ("pen.cash_bank", "2026-11-06", "2026-11-10"),
        ("pen.withdraw_pub", "2026-09-24", "2026-09-30"),
    ],
)
def test_two_three_five_and_seven_days_of_the_penalty_law_are_working_days(
    rule: str, start: str, day: str
) -> None:
    """
    basis: 行政处罚法第八十五条
    basis: 行政处罚法第六十四条第一项
    basis: 行政处罚法第六十一条第一款
    basis: 行政处罚法第五十六条
    basis: 行政处罚法第七十一条
    basis: 行政处罚法第四十八条第二款
    """
    assert ends(rule, start).day == D(day)


def test_a_case_is_decided_within_ninety_calendar_days() -> None:
    """basis: 行政处罚法第六十条"""
    assert ends("pen.decide", "2026-01-30").day == D("2026-04-30")


def test_notice_of_a_hearing_is_given_seven_working_days_before_it() -> None:
    """basis: 行政处罚法第六十四条第二项"""
    assert ends("pen.hearing_notice", "2026-10-12").day == D("2026-09-24")


def test_a_fine_is_paid_within_fifteen_days_and_a_party_has_the_day_after_a_day_off() -> None:
    """basis: 行政处罚法第六十七条第三款"""
    paid = ends("pen.pay", "2026-09-18")  # the fifteenth day is 3 October
    assert (paid.raw, paid.day) == (D("2026-10-03"), D("2026-10-08"))


def test_a_surcharge_runs_from_the_day_after_the_last() -> None:
    """basis: 行政处罚法第七十二条第一款第一项
    basis: 行政处罚法第七十三条第三款
    """
    assert ends("pen.surcharge", "2026-11-02").raw == D("2026-11-03")


def test_what_is_not_discovered_in_two_years_is_not_punished_in_five_where_life_is_at_stake() -> None:
    """basis: 行政处罚法第三十六条第一款"""
    assert ends("pen.limit2", "2024-02-29").day == D("2026-02-28")
    assert ends("pen.limit5", "2021-11-05").day == D("2026-11-05")


def test_a_seizure_lasts_thirty_calendar_days_for_the_agency_also_where_it_ends_on_a_day_off() -> None:
    """basis: 行政强制法第二十五条第一款"""
    assert ends("cmp.seize", "2026-01-15").day == D("2026-02-14")
    assert ends("cmp.seize", "2026-01-17").day == D("2026-02-16")  # a day of the festival: not moved
    assert ends("cmp.seize_ext", "2026-02-14").day == D("2026-03-16")


def test_approval_of_a_measure_on_the_spot_follows_within_twenty_four_hours() -> None:
    """basis: 行政强制法第十九条"""
    term = limits.term(limits.table()["cmp.onspot_report"], at("2026-02-16", "23:30"), CALENDAR)
    assert term.ends == at("2026-02-17", "23:30")


@pytest.mark.parametrize(
    ("rule", "start", "day"),
    [
        ("cmp.demand", "2026-09-24", "2026-10-15"),
        ("cmp.court_accept", "2026-09-24", "2026-10-09"),
        ("cmp.court_rule", "2026-09-24", "2026-10-12"),
        ("cmp.substitute", "2026-10-12", "2026-10-08"),
    ],
)
def test_limits_of_ten_days_or_less_in_the_compulsion_law_are_working_days(
    rule: str, start: str, day: str
) -> None:
    """
    basis: 行政强制法第六十九条
    basis: 行政强制法第五十四条
    basis: 行政强制法第五十六条第一款
    basis: 行政强制法第五十七条
    basis: 行政强制法第五十一条第一款
    """
    assert ends(rule, start).day == D(day)


def test_thirty_days_of_surcharge_and_three_months_to_the_court_are_calendar_time() -> None:
    """basis: 行政强制法第四十六条第一款
    basis: 行政强制法第五十三条
    """
    assert ends("cmp.surcharge_wait", "2026-02-01").day == D("2026-03-03")
    assert ends("cmp.court_apply", "2025-11-30").day == D("2026-02-28")


def test_a_date_that_leans_on_a_year_not_announced_is_provisional() -> None:
    published = ends("pub.penalty", "2026-12-25")
    assert published.provisional
    assert published.day == D("2027-01-06")  # a guess in which New Year's Day is off
    assert published.leans_on == (2026, 2027)
    assert not ends("pub.penalty", "2026-12-14").provisional


def test_calendar_days_of_an_agency_lean_on_no_calendar_and_those_of_a_party_on_that_of_the_last() -> None:
    assert not ends("pen.decide", "2026-12-25").provisional
    assert ends("pen.pay", "2026-12-25").provisional


def test_months_end_on_the_day_of_the_same_number_or_the_last_of_the_month() -> None:
    assert limits.term(a_limit(1, Unit.MONTHS), at("2026-01-31"), CALENDAR).day == D("2026-02-28")
    assert limits.term(a_limit(6, Unit.MONTHS), at("2026-08-31"), CALENDAR).day == D("2027-02-28")
    assert limits.term(a_limit(12, Unit.MONTHS), at("2026-12-15"), CALENDAR).day == D("2027-12-15")


@pytest.mark.parametrize(("start", "day"), [("2026-12-31", "2027-01-31"), ("2026-01-30", "2026-01-31")])
def test_a_day_of_the_year_is_the_next_one(start: str, day: str) -> None:
    assert ends("pub.annual", start).day == D(day)


def test_the_days_of_a_pause_are_not_counted() -> None:
    pause = Pause(at("2026-11-03"), at("2026-11-10"))
    assert limits.term(a_limit(10, Unit.CALENDAR_DAYS), at("2026-11-01"), CALENDAR, [pause]).day == D(
        "2026-11-18"
    )
    assert limits.term(a_limit(5, Unit.WORKING_DAYS), at("2026-11-02"), CALENDAR, [pause]).day == D(
        "2026-11-16"
    )
    assert limits.term(a_limit(1, Unit.MONTHS), at("2026-11-01"), CALENDAR, [pause]).day == D("2026-12-08")


def test_a_pause_among_the_added_days_is_not_counted_either() -> None:
    pauses = [Pause(at("2026-11-03"), at("2026-11-10")), Pause(at("2026-12-05"), at("2026-12-08"))]
    assert limits.term(a_limit(1, Unit.MONTHS), at("2026-11-01"), CALENDAR, pauses).day == D("2026-12-11")


def test_hours_stand_still_in_a_pause() -> None:
    pause = Pause(at("2026-11-02", "11:00"), at("2026-11-02", "11:30"))
    term = limits.term(limits.table()["col.sign_urgent"], at("2026-11-02"), CALENDAR, [pause])
    assert term.ends == at("2026-11-02", "12:30")


def test_the_day_of_the_event_is_a_day_in_china() -> None:
    """16:30 UTC is the next day there."""
    start = at("2026-11-03", "00:30")
    assert limits.term(a_limit(1, Unit.CALENDAR_DAYS), start, CALENDAR).day == D("2026-11-04")


@pytest.mark.parametrize(
    ("limit", "start", "yellow"),
    [
        (a_limit(1, Unit.WORKING_DAYS), "2026-11-02", at("2026-11-03", "12:00")),  # not at birth
        (a_limit(7, Unit.WORKING_DAYS), "2026-11-02", at("2026-11-10", "00:00")),
        (a_limit(90, Unit.CALENDAR_DAYS), "2026-11-01", at("2027-01-28", "00:00")),
        (a_limit(2, Unit.HOURS), "2026-11-02", at("2026-11-02", "11:00")),
    ],
)
def test_a_light_is_yellow_at_the_later_of_half_time_and_two_working_days_left(
    limit: Limit, start: str, yellow: datetime
) -> None:
    assert limits.yellow_at(limits.term(limit, at(start), CALENDAR), CALENDAR) == yellow


def test_a_clock_is_black_when_it_is_overdue_by_its_own_length() -> None:
    term = limits.term(a_limit(3, Unit.CALENDAR_DAYS), at("2026-11-02"), CALENDAR)
    assert term.ends == at("2026-11-06", "00:00")
    assert limits.black_at(term) == at("2026-11-09", "00:00")


def test_a_limit_that_counts_backwards_is_yellow_two_working_days_before() -> None:
    term = ends("pen.hearing_notice", "2026-11-20")
    assert term.day == D("2026-11-11")
    assert limits.yellow_at(term, CALENDAR) == at("2026-11-10", "00:00")


def test_a_term_never_ends_before_it_begins() -> None:
    for limit in limits.table().values():
        term = limits.term(limit, at("2026-09-24"), CALENDAR)
        assert term.begins <= term.ends, limit.rule
        assert term.ends - term.begins <= timedelta(days=366 * 5 + 1)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("a,甲,a,0,working_days,x,agency,行政处罚法第六十条,statute,", "大于零"),
        ("a,甲,a,3,weeks,x,agency,行政处罚法第六十条,statute,", "weeks"),
        ("a,甲,a,3,working_days,x,agency,行政处罚法第九十条,statute,", "没有第90条"),
        ("a,甲,a,3,working_days,x,agency,听说,statute,", "法律依据"),
        ("a,甲,a,3,working_days,x,agency,行政处罚法第六十条,hearsay,", "hearsay"),
        ("a,甲,a,1332,day_of_year,x,agency,行政处罚法第六十条,statute,", "month"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(row: str, complaint: str) -> None:
    with pytest.raises(BadLimits, match=rf"第 2 行.*{complaint}"):
        limits.read([HEADER, row])


def test_a_rule_stands_once() -> None:
    row = "a,甲,a,3,working_days,x,agency,行政处罚法第六十条,statute,"
    with pytest.raises(BadLimits, match="第 3 行"):
        limits.read([HEADER, row, row])


def test_a_day_that_a_person_names_may_be_the_last_of_all() -> None:
    """Nothing that is counted on from it comes to the end of time."""
    term = limits.until(D("9999-12-31"), at("2026-11-02"))
    assert limits.black_at(term) > term.ends
    assert limits.yellow_at(term, CALENDAR) < term.ends
    assert CALENDAR.after(term.day, 90) > term.day


def test_a_day_that_is_over_when_it_is_named_has_no_stretch() -> None:
    term = limits.until(D("2026-10-30"), at("2026-11-02"))
    assert term.begins == term.ends
