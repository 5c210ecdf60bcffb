"""The story: a case crosses from a township to a county department, another comes back and goes on.

It is played through the public HTTP APIs of any deployment; `outcome` then reads the services as their users
would and says whether everything is as it was told.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from libs.common.clock import Clock, day_of
from libs.common.contracts.cases import CaseFiled
from libs.common.law import codes
from libs.common.permit import Role
from libs.common.settings import Name
from tools.demo import feeds, loading, papers
from tools.demo.callers import Answer, Caller, Deployment, Person, until
from tools.demo.county import County
from tools.demo.papers import Papers
from tools.demo.receiver import Receiver
from tools.demo.telling import Telling

#: Who hears of every case and can tell what they saw of it.
WITNESSES: tuple[Name, ...] = ("notify", "sharing")

TOWNSHIP, WATER, ENFORCEMENT, STRANGER = "青溪镇", "县水利局", "县执法局", "松坪乡"
HELD = "店外经营"
#: A power that the township does not hold, of the department that will take the case.
CROSSING = "在河道内弃置、堆放阻碍行洪的物体"
#: One that the township does not hold either, and offers to the wrong department first.
_LIGHTS = {"green": "绿灯", "yellow": "黄灯", "red": "红灯", "black": "黑灯"}
STRAYING = "沿途丢弃、随意倾倒建筑垃圾"


@dataclass(frozen=True, slots=True)
class Cast:
    """Who takes part."""

    registrar: Person
    coordinator: Person
    auditor: Person
    operator: Person
    township: Person
    approver: Person
    water: Person
    enforcement: Person
    stranger: Person
    integrator: Person

    def all(self) -> Iterator[Person]:
        return (getattr(self, name) for name in Cast.__slots__)


def cast(county: County) -> Cast:
    """Officers of the county in the roles of the story."""
    office = county.office.short

    def of(short: str, number: int, title: str, *roles: Role) -> Person:
        officer = [officer for officer in county.officers if officer.agency == short][number]
        return Person(officer.id, county.agencies[short], roles, title)

    return Cast(
        registrar=of(office, 0, "名录管理员", Role.REGISTRAR),
        coordinator=of(office, 1, "联席会议协调员", Role.COORDINATOR),
        auditor=of(office, 2, "执法监督员", Role.AUDITOR),
        operator=of(office, 2, "运维人员", Role.OPERATOR),
        township=of(TOWNSHIP, 0, "承办人员", Role.HANDLER),
        approver=of(TOWNSHIP, 2, "审批负责人", Role.APPROVER),
        water=of(WATER, 0, "承办人员", Role.HANDLER),
        enforcement=of(ENFORCEMENT, 0, "承办人员", Role.HANDLER),
        stranger=of(STRANGER, 0, "承办人员（与案件无关）", Role.HANDLER),
        integrator=of(WATER, 1, "系统管理员", Role.INTEGRATOR),
    )


@dataclass(slots=True)
class Played:
    """What came of the story, for those who check it."""

    held: str = ""  #: the case that the township filed
    crossed: str = ""  #: the one that the department took
    returned: str = ""  #: the one that came back and went on
    #: Refusals that the story must meet, by what was tried.
    refusals: dict[str, Answer] = field(default_factory=dict)
    receipts: list[dict[str, Any]] = field(default_factory=list)
    #: The department's inbox before it signed, and after.
    counts: list[dict[str, int]] = field(default_factory=list)
    #: What the coordinators' reader had read when it went away.
    read_before: list[dict[str, Any]] = field(default_factory=list)
    #: The clock that nobody answered, explained, when it had come to its end.
    clock: dict[str, Any] = field(default_factory=dict)
    #: The letter of supervision that it brought about.
    letter: dict[str, Any] = field(default_factory=dict)
    #: The joint picture before the story: numbers by agency.
    picture_before: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def cases(self) -> tuple[str, str, str]:
        return self.held, self.crossed, self.returned


class Story:
    """The acts, in order. Nothing is known here but what the services answered."""

    def __init__(self, county: County, deployment: Deployment, telling: Telling, folder: Path) -> None:
        """`folder` is for what is fetched to be verified."""
        self.county = county
        self.cast = cast(county)
        self.papers = Papers(folder)
        self.played = Played()
        self._tell = telling
        self._run = uuid.uuid4().hex[:12]
        self._step = 0
        self._callers = {person: deployment.caller(person) for person in self.cast.all()}
        self.deployment = deployment

    def play(self) -> Played:
        """All of it. Raises Unexpected where a service answers otherwise than the story needs."""
        self.played.picture_before = self.picture()
        self._files_under_a_power_it_holds()
        self._may_not_file_under_one_it_does_not_hold()
        if self.deployment.system:
            self._connects(self.deployment.system)
        self._offers()
        self._signs()
        self._returns_one()
        self._accepts_the_other()
        self._goes_on_to_who_has_it_by_statute()
        self._reads_on()
        self._proves()
        if self.deployment.hands:
            self._lets_a_clock_run(self.deployment.hands)
        return self.played

    def caller(self, person: Person) -> Caller:
        return self._callers[person]

    def picture(self) -> dict[str, dict[str, int]]:
        """The joint picture as the coordinators see it: numbers by agency."""
        picture = self.caller(self.cast.coordinator).get("sharing", "/v1/picture").need(200)
        lines = [*picture["townships"], *picture["departments"]]
        return {self.county.short(line["agency"]): numbers(line) for line in lines}

    def _files_under_a_power_it_holds(self) -> None:
        self._tell.chapter("一、有权，才能立案", "行政处罚法第二十四条、第四十二条、第五十四条")
        case = self.played.held = self._register(HELD, "禾边小吃店越门经营，占用人行道")
        today = day_of(Clock().now())
        valid = self._officers(TOWNSHIP)
        expired = self.county.expired(TOWNSHIP, today)[0]
        refused = self._move(self.cast.township, case, "file", officers=[valid[0], expired.id])
        self._refused("too-few-officers", "一人执法证已过期，申请立案", refused)
        filed = self._move(self.cast.township, case, "file", officers=valid).need(201)
        self._tell.does(
            TOWNSHIP, f"换两名持证人员，立案：{filed['no']}", "第四十二条第一款；案号连续，不重不漏"
        )

    def _may_not_file_under_one_it_does_not_hold(self) -> None:
        self._tell.chapter("二、无权，不得立案", "行政处罚法第二十四条第一款")
        case = self.played.crossed = self._register(CROSSING, "河道内堆放砂石，影响行洪")
        path = f"/v1/cases/{case}/transitions"
        moves = self.caller(self.cast.township).get("cases", path).need(200)["data"]
        may = [f"「{move['zh']}」可以" for move in moves if move["allowed"]]
        blocked = [f"「{m['zh']}」受阻于{m['blocks'][0]['basis']}" for m in moves if m["blocks"]]
        self._tell.note(TOWNSHIP, f"先问现在能做什么：{'，'.join([*may, *blocked])}")
        refused = self._move(self.cast.township, case, "file", officers=self._officers(TOWNSHIP))
        self._refused("beyond-power", "仍要立案", refused)

    def _connects(self, system: Receiver) -> None:
        """The department's own system is connected; before it is proved, nothing is sent to it."""
        water = self.caller(self.cast.integrator)
        body = {"name": f"业务系统 {self._run}", "url": system.url}
        made = water.post("notify", "/v1/endpoints", body, key=self._key()).need(201)
        system.believes(made["secret"])
        challenge = until(lambda: system.challenge, "对推送端点的验证")
        path = f"/v1/endpoints/{made['id']}/verification"
        water.post("notify", path, {"token": challenge["data"]["token"]}, key=self._key()).need(201)
        self._tell.note(WATER, "自己的业务系统接入推送：登记地址、验证、此后每件都有签名")

    def _offers(self) -> None:
        self._tell.chapter("三、移送：接收之前，仍由移送机关负责", "行政处罚法第二十二条、第二十五条")
        self._offer(self.played.crossed, WATER, "涉嫌违反水法第六十六条，属水行政主管部门职权").need(201)
        self._tell.does(
            TOWNSHIP, f"向{WATER}移送河道案：移送书、初步证据、物品清单、两名执法人员", "承办单位未变"
        )
        case = self.played.returned = self._register(STRAYING, "堤外空地倾倒建筑垃圾约三车")
        self._offer(case, WATER, "倾倒地点临近河堤").need(201)
        self._tell.does(TOWNSHIP, f"把一件建筑垃圾案也移送给了{WATER}（其实移错了）")

    def _signs(self) -> None:
        self._tell.chapter("四、签收：谁知道了、何时知道的，有据可查", "承诺：没有无声的移送")
        water = self.caller(self.cast.water)
        notices = until(self._notices_of_offers, f"{WATER}收件箱中的两件移送")
        self.played.counts.append(water.get("notify", "/v1/inbox/counts").need(200))
        counts = self.played.counts[0]
        self._tell.note(WATER, f"收件箱：{counts['unread']} 件未读，{counts['to_sign']} 件待签收")
        for notice in notices:
            self._tell.note("", f"· {notice['title']}")
        body = {"notices": [notice["id"] for notice in notices]}
        signed = water.post("notify", "/v1/inbox/receipts", body, key=self._key()).need(201)
        self.played.receipts = signed["data"]
        self.played.counts.append(water.get("notify", "/v1/inbox/counts").need(200))
        self._tell.does(
            WATER, "两件一并签收，得到两份 Ed25519 签名的回执", "回执离线可验，并记入案件全程留痕"
        )
        reader = self.caller(self.cast.coordinator)
        self.played.read_before = feeds.read(reader, "all")
        last = self.played.read_before[-1]["id"]
        self._tell.note("联席会议", f"协调员的程序读到第 {last} 条，离开（记住 lastEventId={last}）")

    def _notices_of_offers(self) -> list[dict[str, Any]] | None:
        """The notices of the two offers, once both are there; the inbox shows the newest first."""
        about = {f"case/{self.played.crossed}", f"case/{self.played.returned}"}
        inbox = self.caller(self.cast.water).get("notify", "/v1/inbox", state="unread").need(200)
        found = [notice for notice in inbox["data"] if notice["about"] in about and notice["sign"]]
        return found if len(found) == len(about) else None

    def _returns_one(self) -> None:
        self._tell.chapter("五、退回：要有理由、依据和建议", "行政处罚法第二十五条第二款")
        path = f"/v1/transfers/{self.played.returned}.t1/return"
        body = {
            "reason": "not_competent",
            "basis": "不属于我局职责",
            "proposed_agency": self.county.agencies[ENFORCEMENT].id,
        }
        water = self.caller(self.cast.water)
        refused = water.post("cases", path, body, key=self._key())
        self._refused("ungrounded-return", "退回建筑垃圾案，未写条文", refused, who=WATER)
        body["basis"] = "浙江省城市市容和环境卫生管理条例第二十八条"
        water.post("cases", path, body, key=self._key()).need(201)
        self._tell.does(WATER, f"写明条文后退回，建议由{ENFORCEMENT}管辖", "案件一直由青溪镇承办，没有空档")

    def _accepts_the_other(self) -> None:
        self._tell.chapter("六、接收：任何时刻，承办单位有且只有一个", "承诺：一案一主")
        case, water = self.played.crossed, self.caller(self.cast.water)
        accepted = water.post("cases", f"/v1/transfers/{case}.t1/acceptance", {}, key=self._key())
        accepted.need(201)
        self._tell.does(WATER, "接收河道案，自此由其承办", "依法定职权：行政处罚法第十七条、第二十三条")
        refused = self._move(self.cast.township, case, "reject", reason="当事人已自行清理")
        self._refused("old-holder", "原承办单位想作不予立案", refused, shows="只有现在的承办单位能办")
        path = f"/v1/transfers/{case}.t1/withdrawal"
        withdrawn = self.caller(self.cast.township).post("cases", path, {}, key=self._key())
        self._refused("not-offered", "又想撤回移送", withdrawn, shows="接收之后不能撤回")
        filed = self._move(self.cast.water, case, "file", officers=self._officers(WATER)).need(201)
        self._tell.does(WATER, f"两名持证人员立案：{filed['no']}")

    def _goes_on_to_who_has_it_by_statute(self) -> None:
        self._tell.chapter("七、退回的案件，按建议再移送", "首接负责，直到有人接收")
        case = self.played.returned
        self._offer(case, ENFORCEMENT, "经水利局退回，按其建议移送").need(201)
        self._tell.does(TOWNSHIP, f"改向{ENFORCEMENT}移送建筑垃圾案")
        enforcement = self.caller(self.cast.enforcement)
        enforcement.post("cases", f"/v1/transfers/{case}.t2/acceptance", {}, key=self._key()).need(201)
        officers = self._officers(ENFORCEMENT)
        filed = self._move(self.cast.enforcement, case, "file", officers=officers).need(201)
        self._tell.does(ENFORCEMENT, f"接收并立案：{filed['no']}")

    def _reads_on(self) -> None:
        self._tell.chapter("八、离开的读者回来", "承诺：次序一致，一条不漏；不该看的，只见占位")
        last = self.played.read_before[-1]["id"]
        missed = until(self._what_the_reader_missed, "协调员订阅源中建筑垃圾案的立案")
        self._tell.does("联席会议", f"从 lastEventId={last} 接着读，补上 {len(missed)} 条，其中两案：")
        for name, case in (("河道案", self.played.crossed), ("建筑垃圾案", self.played.returned)):
            steps = [feeds.called(event) for event in missed if event.get("subject") == f"case/{case}"]
            self._tell.note("", f"· {name}：{' → '.join(steps)}")
        stubs = feeds.read(self.caller(self.cast.stranger), "cases", after=last)
        self._tell.does(STRANGER, f"与两案无关：同样的位置上是 {len(stubs)} 个占位，没有任何内容")

    def _what_the_reader_missed(self) -> list[dict[str, Any]] | None:
        """What came after it went away, once the last step of the story is there."""
        last = self.played.read_before[-1]["id"]
        read = feeds.read(self.caller(self.cast.coordinator), "all", after=last)
        filed = [event["data"]["case"] for event in read if event["type"] == CaseFiled.TYPE]
        return read if {self.played.crossed, self.played.returned} <= set(filed) else None

    def _proves(self) -> None:
        self._tell.chapter("九、证明：不信任何系统，也能核验", "tools/verify.py 只用 Python 标准库")
        proof, (witness, _) = self.proof(), self.witnesses()
        self._tell.does(WATER, "取得河道案的留痕证明，连同 notify 见证的链首，离线核验")
        self._tell.note("", f"$ python3 tools/verify.py {proof} --witness {witness}")
        self._verdict(proof, witness)
        forged = self.forged(proof)
        self._tell.does("有人", f"把证明改动一个字节（{forged.name}），再核验")
        self._verdict(forged, witness)

    def _lets_a_clock_run(self, hands: Path) -> None:
        self._tell.chapter("十、时限：无人答复，逐级升级", "承诺：没有无声的超期（演示的时钟将拨快几天）")
        case = self._register(CROSSING, "又一处河道堆放砂石")
        self._offer(case, WATER, "同上一案").need(201)
        coordinator = self.caller(self.cast.coordinator)
        sign_by = until(lambda: self._clock_of(case), f"{WATER}的签收时限")
        self._tell.does(
            TOWNSHIP, f"向{WATER}移送；{sign_by['name']}至{sign_by['due_on']}，依据：{sign_by['basis']}"
        )
        explain = f"/v1/obligations/{sign_by['id']}/explain"
        running = coordinator.get("notify", explain).need(200)
        times = {level["at"]: level for level in running["coming"]} | {running["yellow_at"]: None}
        for at in sorted(times, key=datetime.fromisoformat):
            _move(hands, datetime.fromisoformat(at) + timedelta(minutes=1))
            self._passes(explain, at, times[at])
        self.played.clock = coordinator.get("notify", explain).need(200)
        water = self.caller(self.cast.water)
        path = f"/v1/supervisions/{until(self._letter, '督办函')}"
        letter = water.get("notify", path).need(200)
        self._tell.note(WATER, f"收到{letter['number']}：{letter['title']}")
        water.post("cases", f"/v1/transfers/{case}.t1/acceptance", {}, key=self._key()).need(201)
        answered = {"text": "已接收该案，即日核查"}
        water.post("notify", f"{path}/reply", answered, key=self._key()).need(201)
        closed = coordinator.post("notify", f"{path}/closure", {"remark": "属实"}, key=self._key())
        self.played.letter = closed.need(201)
        self._tell.does("联席会议", f"{WATER}接收案件并反馈，{letter['number']}销号")

    def _passes(self, explain: str, at: str, level: dict[str, Any] | None) -> None:
        """What is seen at this time: how the light stands, and the level that was reached, if one was."""
        number = level["level"] if level else 0
        seen = until(lambda: self._reached(explain, number), f"{at}的升级")
        told = seen["reached"][-1]["told"] if level else []
        whom = f" {level['name']}：告知{'、'.join(map(self._called, told))}" if level else ""
        self._tell.note("", f"{at[:10]} {_LIGHTS[seen['light']]}{whom}")

    def _clock_of(self, case: str) -> dict[str, Any] | None:
        """The clock by which the recipient of the case must sign."""
        clocks = self.caller(self.cast.coordinator).get(
            "notify", "/v1/obligations", about=f"case/{case}", rule="col.sign"
        )
        found = clocks.need(200)["data"]
        return found[0] if found else None

    def _reached(self, explain: str, level: int) -> dict[str, Any] | None:
        told: dict[str, Any] = self.caller(self.cast.coordinator).get("notify", explain).need(200)
        return told if len(told["reached"]) >= level else None

    def _letter(self) -> str | None:
        """The letter that a level of the clock brought about."""
        return next((one["supervision"] for one in self.played.clock["reached"] if one["supervision"]), None)

    def _called(self, addressee: str) -> str:
        """An agency by its short name, an office by what it is."""
        offices = {"coordinators": "联席会议办公室", "county": "县政府"}
        return offices.get(addressee) or self.county.short(addressee)

    def _verdict(self, proof: Path, witness: Path) -> None:
        """What the verifier says: all of it where the proof holds, else what does not hold."""
        code, said = papers.verified(proof, witnesses=[witness])
        for line in said.splitlines()[1:]:
            if code == 0 or "✓" not in line:
                self._tell.note("", line.strip())

    def proof(self) -> Path:
        """The proof of the case that crossed, as its holder gets it, in a file."""
        path = f"/v1/cases/{self.played.crossed}/proof"
        return self.papers.keep("proof.json", self.caller(self.cast.water).get("cases", path).need(200))

    def witnesses(self) -> list[Path]:
        """What notify and sharing saw of that case, up to its end, in files."""
        coordinator, case = self.caller(self.cast.coordinator), self.played.crossed
        seq = self.length(case)
        return [
            self.papers.keep(
                f"witness-{service}.json",
                loading.await_witnessed(coordinator, service, f"case/{case}", seq),
            )
            for service in WITNESSES
        ]

    def length(self, case: str) -> int:
        """How many facts the case's stream holds."""
        path = f"/v1/cases/{case}/timeline"
        deeds = self.caller(self.cast.coordinator).get("cases", path).need(200)["data"]
        return max(int(deed["seq"]) for deed in deeds if deed["kind"] == "fact")

    def forged(self, proof: Path) -> Path:
        """The same proof with one byte changed, in the entry of the acceptance, which is the third."""
        return self.papers.forge(proof, b"transfer.a")

    def _register(self, power: str, summary: str) -> str:
        """The township registers a clue; gives the case."""
        township = self.cast.township
        clue = {
            "power": self.county.power(power).code,
            "territory": township.agency.division,
            "source": "inspection",
            "summary": summary,
            "party_name": "青禾县某经营部（虚构）",
            "party_id": codes.with_check_digit("92331221MA0000010"),
        }
        case = self.caller(township).post("cases", "/v1/clues", clue, key=self._key()).need(201)
        shows = "" if self.played.held else "第五十四条；首接负责：在别的机关接收之前由其承办"
        self._tell.does(TOWNSHIP, f"巡查发现，登记线索「{power}」", shows)
        return str(case["id"])

    def _move(self, person: Person, case: str, move: str, **brings: Any) -> Answer:
        caller = self.caller(person)
        seen = caller.get("cases", f"/v1/cases/{case}")
        seen.need(200)
        body = {"move": move, **brings}
        path = f"/v1/cases/{case}/transitions"
        return caller.post("cases", path, body, key=self._key(), version=seen.version)

    def _offer(self, case: str, to: str, ground: str) -> Answer:
        township = self.caller(self.cast.township)
        body = {
            "to_agency": self.county.agencies[to].id,
            "officers": self._officers(TOWNSHIP),
            "papers": [{"name": "案件移送书"}, {"name": "案源材料"}],
            "evidence": [{"name": "现场检查笔录"}, {"name": "现场照片四张"}],
            "goods": [{"name": "砂石、渣土", "quantity": "约三车"}],
            "ground": ground,
        }
        seen = township.get("cases", f"/v1/cases/{case}")
        seen.need(200)
        path = f"/v1/cases/{case}/transfers"
        return township.post("cases", path, body, key=self._key(), version=seen.version)

    def _officers(self, short: str) -> list[str]:
        """Two officers of the agency whose certificates are valid today."""
        return [officer.id for officer in self.county.certified(short, day_of(Clock().now()))[:2]]

    def _refused(
        self, name: str, tried: str, answer: Answer, *, who: str = TOWNSHIP, shows: str = ""
    ) -> None:
        """It must have been refused. Raises Unexpected."""
        problem = answer.need(403, 409)
        self.played.refusals[name] = answer
        self._tell.is_refused(who, tried, answer.status, problem["detail"], problem.get("basis", shows))

    def _key(self) -> str:
        self._step += 1
        return f"story-{self._run}-{self._step}"


def _move(hands: Path, now: datetime) -> None:
    """Put the services' clock to this time; at once, so that nobody reads half of it."""
    new = hands.with_suffix(".new")
    new.write_text(now.isoformat())
    new.replace(hands)


def numbers(line: Mapping[str, Any]) -> dict[str, int]:
    """The numbers of a line of the picture, those of its parts under both names."""
    found = {name: value for name, value in line.items() if isinstance(value, int)}
    for part, values in line.items():
        if isinstance(values, dict):
            found |= {f"{part}.{name}": n for name, n in values.items() if isinstance(n, int)}
    return {name: n for name, n in found.items() if name != "position"}
