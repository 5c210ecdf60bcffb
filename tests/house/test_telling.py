"""What the demonstration prints: Chinese fits the columns of a terminal."""

from __future__ import annotations

import io

import pytest

from tools.demo import telling
from tools.demo.telling import Telling

#: A terminal that cannot be measured has this many columns.
COLUMNS = 100


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    return io.StringIO()


def test_no_line_is_wider_than_the_terminal(out: io.StringIO) -> None:
    text = "县水利局接收河道案，自此由其承办；" * 9 + "GET /v1/feeds/cases?lastEventId=401"
    Telling(out=out).does("县水利局", text, "行政处罚法第十七条、第二十三条")
    lines = out.getvalue().splitlines()
    # A closing mark may stand out by its own width: it must not begin the next line.
    assert max(map(telling.width, lines)) <= COLUMNS + 2
    assert "".join(line.strip() for line in lines).replace(" ", "") == (
        f"县水利局{text}〔行政处罚法第十七条、第二十三条〕".replace(" ", "")
    )


def test_no_line_begins_with_a_closing_mark(out: io.StringIO) -> None:
    Telling(out=out).note("", "案。" * 100)
    assert not [line for line in out.getvalue().splitlines() if line.strip().startswith("。")]


def test_what_is_not_a_terminal_gets_no_colours(out: io.StringIO) -> None:
    told = Telling(out=out)
    told.chapter("一、立案", "第五十四条")
    told.is_refused("青溪镇", "立案", 409, "无权", "第二十四条")
    told.verdict(False, "不符")
    told.ends(False, "未通过")
    assert "\x1b" not in out.getvalue()
    assert "青溪镇      立案 —— 被拒绝（409）" in out.getvalue()
