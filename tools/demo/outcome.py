"""Reads the three services as their users would, and says whether all is as the story told it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.demo import feeds, loading, papers, story
from tools.demo.callers import Answer, Unexpected, until
from tools.demo.story import ENFORCEMENT, STRANGER, TOWNSHIP, WATER, Story


class Otherwise(Exception):
    """Something is not as it was told; the text says what."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    holds: bool
    text: str


def checks(played: Story) -> Iterator[Check]:
    """Every check, in the order of the story; none ends the others."""
    for look in LOOKS:
        try:
            yield Check(True, look(played))
        except (Otherwise, Unexpected) as why:
            yield Check(False, f"{(look.__doc__ or '').strip()} 但是：{why}")


def _holders(s: Story) -> str:
    """每案恰有一个承办单位。"""
    cast, played = s.cast, s.played
    asked = {
        played.held: (TOWNSHIP, [cast.township, cast.coordinator]),
        played.crossed: (WATER, [cast.township, cast.water, cast.coordinator]),
        played.returned: (ENFORCEMENT, [cast.township, cast.enforcement, cast.coordinator]),
    }
    for case, (holder, readers) in asked.items():
        for reader in readers:
            seen = s.caller(reader).get("cases", f"/v1/cases/{case}").need(200)
            told = s.county.short(seen["holder"])
            _require(told == holder, f"{reader.agency.short}看到案件 {case} 由{told}承办")
    return f"每案恰有一个承办单位：店外经营案{TOWNSHIP}，河道案{WATER}，建筑垃圾案{ENFORCEMENT}；各方所见一致"


def _refusals(s: Story) -> str:
    """该拒绝的都被拒绝了。"""
    by_law = {
        "too-few-officers": "行政处罚法第四十二条第一款",
        "beyond-power": "行政处罚法第二十四条第一款",
        "ungrounded-return": "行政处罚法第二十五条第二款",
    }
    for name, basis in by_law.items():
        refused = s.played.refusals[name]
        _require(refused.status == 409 and refused.body.get("basis") == basis, f"{name} 得到 {refused.body}")
        _require(_code(refused) == name, f"{name} 得到 {_code(refused)}")
    _require(s.played.refusals["not-offered"].status == 409, "接收后撤回，应得 409")
    return "该拒绝的都被拒绝，并写明条文；原承办单位不能再办，也不能撤回"


def _inbox(s: Story) -> str:
    """收件箱计数与清单一致。"""
    before, after = s.played.counts
    signed = len(s.played.receipts)
    _require(after["received"] - before["received"] == signed == 2, f"签收前后：{before} {after}")
    water = s.caller(s.cast.water)
    about = {f"case/{case}" for case in s.played.cases}
    states = {n["state"] for n in water.pages("notify", "/v1/inbox") if n["about"] in about and n["sign"]}
    _require(states == {"received"}, f"{WATER}的移送通知：{states}")
    expected = {
        "liandong.clue.registered.v1",
        "liandong.case.filed.v1",
        "liandong.transfer.accepted.v1",
        "liandong.transfer.returned.v1",
    }

    def told() -> bool:
        inbox = s.caller(s.cast.township).pages("notify", "/v1/inbox")
        return {n["type"] for n in inbox if n["about"] in about} == expected

    def agree() -> bool:
        counts = water.get("notify", "/v1/inbox/counts").need(200)
        rows = Counter(notice["state"] for notice in water.pages("notify", "/v1/inbox"))
        return all(counts[state] == rows[state] for state in ("unread", "received"))

    until(told, f"{TOWNSHIP}收件箱中的登记、立案、接收和退回")
    until(agree, f"{WATER}收件箱的计数与清单一致")
    return f"收件箱：{WATER}已签收两件移送，计数与清单一致；{TOWNSHIP}收到接收和退回的通知，待签收"


def _clock(s: Story) -> str:
    """无人答复的时限逐级升级，每级一次。"""
    if s.deployment.hands is None:
        return "时限：这一部署的时钟不能拨快，未演"
    reached = s.played.clock["reached"]
    _require([one["level"] for one in reached] == [1, 2, 3, 4], f"各级：{reached}")
    _require(s.played.clock["light"] in ("red", "black"), f"灯：{s.played.clock['light']}")
    _require(s.played.letter["state"] == "closed", f"督办函：{s.played.letter['state']}")
    office = s.caller(s.cast.coordinator)
    about = f"clock/{s.played.clock['about']}"
    told = [notice for notice in office.pages("notify", "/v1/inbox") if notice["about"] == about]
    _require(
        len(told) == len({notice["event"] for notice in told}) >= 2, f"联席会议办公室收到 {len(told)} 件"
    )
    number = s.played.letter["number"]
    return f"时限：超期后逐级升级，四级各一次，终至县政府；{number}已反馈、销号，来龙去脉可查"


def _pushed(s: Story) -> str:
    """部门的系统收到有签名的推送。"""
    system = s.deployment.system
    if system is None:
        return "推送：这一部署没有接入业务系统，未演"

    def told() -> list[str] | None:
        subject = f"case/{s.played.crossed}"
        steps = [event["type"].split(".", 1)[1] for event in system.events if event["subject"] == subject]
        return steps if "case.filed.v1" in steps else None

    steps = until(told, f"{WATER}的系统收到河道案的立案")
    _require(steps == ["transfer.offered.v1", "transfer.accepted.v1", "case.filed.v1"], f"收到 {steps}")
    _require(system.unsigned == 0, f"{system.unsigned} 件签名不符")
    return (
        f"推送：{WATER}的业务系统按序收到河道案的移送、接收和立案，共 {len(system.events)} 件，签名全部相符"
    )


def _receipts(s: Story) -> str:
    """签收回执离线核验。"""
    keys = _keys(s)
    for receipt in s.played.receipts:
        id_ = receipt["receipt"]["receipt"]
        document = s.caller(s.cast.water).get("notify", f"/v1/receipts/{id_}").need(200)
        file = s.papers.keep(f"receipt-{id_}.json", document)
        code, said = papers.verified(file, keys=keys)
        _require(code == 0, said)
        document["receipt"]["signed_at"] = "2020-01-01T00:00:00+00:00"
        forged = s.papers.keep("receipt-forged.json", document)
        _require(papers.verified(forged, keys=keys)[0] == 1, "改了签收时间，仍核验通过")
    return "两份签收回执离线核验通过；改动签收时间，核验不通过"


def _timeline(s: Story) -> str:
    """回执记入全程留痕。"""
    for case in (s.played.crossed, s.played.returned):
        path = f"/v1/cases/{case}/timeline"

        def signed(path: str = path) -> bool:
            deeds = s.caller(s.cast.coordinator).get("cases", path).need(200)["data"]
            by = {s.county.short(deed["agency"]) for deed in deeds if deed["kind"] == "receipt"}
            return WATER in by

        until(signed, f"{path} 中{WATER}的签收")
    return f"{WATER}的两次签收已记入两案的全程留痕"


def _feeds(s: Story) -> str:
    """各方的订阅源都看到每一步，顺序一致。"""
    _await_everywhere(s)
    steps = {case: list(range(1, s.length(case) + 1)) for case in s.played.cases}
    crossed, returned = s.played.crossed, s.played.returned
    # A recipient sees a case from its offer on; who returned it, up to the return.
    expected = {
        s.cast.coordinator: steps,
        s.cast.township: steps,
        s.cast.water: {crossed: steps[crossed][1:], returned: [2, 3]},
        s.cast.enforcement: {returned: steps[returned][3:]},
    }
    for person, cases in expected.items():
        for feed in ("cases", "all"):
            events = feeds.read(s.caller(person), feed)
            for case in s.played.cases:
                told, wanted = feeds.of_case(events, case), cases.get(case, [])
                _require(
                    told == wanted, f"{person.agency.short}在 {feed} 中看到 {case} 的 {told}，应为 {wanted}"
                )
    return f"{TOWNSHIP}、{WATER}、{ENFORCEMENT}和协调员的订阅源：该见的每一步都在，顺序一致"


def _resumed(s: Story) -> str:
    """离开的读者接着读，什么也没漏。"""
    reader, before = s.caller(s.cast.coordinator), s.played.read_before
    later = feeds.read(reader, "all", after=before[-1]["id"])
    whole = feeds.read(reader, "all")
    resumed = [*before, *later]
    _require(resumed == whole[: len(resumed)], "接着读到的与从头读到的不一致")
    positions = [int(event["id"]) for event in whole]
    _require(positions == list(range(1, len(whole) + 1)), "位置不连续")
    place = before[-1]["id"]
    return (
        f"协调员的程序从第 {place} 条接着读，又得 {len(later)} 条：与从头读一遍一字不差，位置连续，什么也没漏"
    )


def _stubs(s: Story) -> str:
    """无关机关只见占位。"""
    stranger = s.caller(s.cast.stranger)
    for case in s.played.cases:
        unseen, never = (stranger.get("cases", f"/v1/cases/{id_}") for id_ in (case, "no-such-case"))
        _require(unseen.status == never.status == 404, f"案件 {case} 得到 {unseen.status}")
        _require(_without_trace(unseen) == _without_trace(never), "不可见与不存在的回答不同")
    seen = feeds.read(stranger, "cases")
    _require(
        all(event.keys() == feeds.STUB and event["type"] == feeds.WITHHELD for event in seen), "占位不空"
    )
    whole = feeds.read(s.caller(s.cast.coordinator), "cases")
    _require(
        [e["id"] for e in seen] == [e["id"] for e in whole][: len(seen)] and seen != [], "占位的位置不全"
    )
    stubs = f"{len(seen)} 条都只是占位（有位置，无内容）"
    return f"{STRANGER}与案件无关：{stubs}；按编号查案，与不存在的案件回答相同"


def _picture(s: Story) -> str:
    """协同态势的数字对得上。"""
    accepted, returned = {"offered_to.accepted": 1}, {"offered_to.returned": 1}
    filed = {"filed": 1, "held.filed": 1}
    expected = {
        TOWNSHIP: {**filed, "offered_by.accepted": 2, "offered_by.returned": 1},
        WATER: {**filed, **accepted, **returned},
        ENFORCEMENT: {**filed, **accepted},
    }
    if s.played.clock:
        # The case that nobody answered was accepted in the end, too.
        expected[TOWNSHIP] |= {"offered_by.accepted": 3}
        expected[WATER] |= {"offered_to.accepted": 2, "held.registered": 1}
    now = s.picture()
    for short, grown in expected.items():
        before = s.played.picture_before[short]
        # Lights change with the time of day, and with clocks of earlier performances.
        counts = {name: n for name, n in now[short].items() if not name.startswith("lights.")}
        told = {name: n - before[name] for name, n in counts.items() if n != before[name]}
        _require(told == grown, f"{short}的数字变化 {told}，应为 {grown}")
    own = s.caller(s.cast.township).get("sharing", f"/v1/picture/townships/{s.cast.township.agency.division}")
    _require(story.numbers(own.need(200)) == s.picture()[TOWNSHIP], f"{TOWNSHIP}看到的与协调机关看到的不同")
    other = s.caller(s.cast.stranger).get("sharing", f"/v1/picture/departments/{s.cast.water.agency.id}")
    _require(other.status == 404, f"{STRANGER}看到了{WATER}的数字")
    return f"协同态势：{TOWNSHIP}的移送（退回一次，其余被接收），三个机关各立案一件，数字都对得上"


def _proof(s: Story) -> str:
    """留痕证明离线核验，与见证一致。"""
    code, said = papers.verified(s.proof(), keys=_keys(s), witnesses=s.witnesses())
    _require(code == 0, said)
    return "河道案的留痕证明：只用 verify.py 核验通过，与 notify、sharing 各自的见证一致"


def _tampered(s: Story) -> str:
    """改动一个字节，核验指出是哪一条。"""
    code, said = papers.verified(s.forged(s.proof()))
    line = next((line.strip() for line in said.splitlines() if "✗" in line), said)
    _require(code == 1 and "第 3 条" in line, f"得到 {code}：{said}")
    return f"证明中改动一个字节，核验指出：{line}"


LOOKS: tuple[Callable[[Story], str], ...] = (
    _holders,
    _refusals,
    _inbox,
    _receipts,
    _timeline,
    _feeds,
    _resumed,
    _stubs,
    _picture,
    _proof,
    _tampered,
    _pushed,
    _clock,
)


def _keys(s: Story) -> list[Path]:
    """The public keys, as the services publish them."""
    found = []
    for service in ("cases", "notify"):
        jwks = s.deployment.send(service, "GET", "/.well-known/jwks.json").need(200)
        found.append(s.papers.keep(f"jwks-{service}.json", jwks))
    return found


def _await_everywhere(s: Story) -> None:
    """Return when the log of `sharing` holds every event of the cases."""
    coordinator = s.caller(s.cast.coordinator)
    for case in s.played.cases:
        loading.await_witnessed(coordinator, "sharing", f"case/{case}", s.length(case))


def _code(refused: Answer) -> str:
    return str(refused.body["type"]).rpartition(":")[2]


def _without_trace(answer: Answer) -> str:
    return json.dumps({name: value for name, value in answer.body.items() if name != "trace_id"})


def _require(holds: bool, complaint: Any) -> None:
    if not holds:
        raise Otherwise(str(complaint))
