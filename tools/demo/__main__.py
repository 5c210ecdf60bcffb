"""`python -m tools.demo`: a county's story on this machine, on the embedded engine, until it is stopped."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from libs.common.clock import monotonic
from libs.common.settings import PREFIX, Settings
from tools.demo import callers, county, engine, performance, receiver
from tools.demo.callers import Deployment, Unexpected
from tools.demo.county import County
from tools.demo.engine import NotStarted, Ports
from tools.demo.loading import AnotherCounty
from tools.demo.story import cast
from tools.demo.telling import PACE, Telling

STOPPED = 130


class Stopped(BaseException):
    """Somebody pressed Ctrl-C, or told the process to end.

    It is raised wherever the program happens to be, so no library may take it for an error of its own.
    """


def main(arguments: list[str] | None = None) -> int:
    """Play the story; gives the exit code."""
    given = _parser().parse_args(arguments)
    telling = Telling(pace=0.0 if given.once else PACE)
    try:
        with _heeding_signals():
            return _demonstrate(given, telling)
    except (NotStarted, AnotherCounty, Unexpected, county.BadTable) as why:
        telling.ends(False, f"演示未能继续：{why}")
        if isinstance(why, AnotherCounty):
            telling.plain("数据目录中是另一份名录：make clean-demo 清除后再试")
        return 1
    except Stopped:
        telling.plain("\n已停止；数据保留，再次运行可接着看。make clean-demo 清除数据。")
        return STOPPED if given.once else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.demo", description="青禾县（虚构）演示")
    parser.add_argument("--once", action="store_true", help="不停顿地演一遍，核对结果后退出（0 或 1）")
    data = Path(os.environ.get(f"{PREFIX}DATA") or ".demo")
    parser.add_argument("--data", type=Path, default=data, help="数据目录（默认 %(default)s）")
    ports = ",".join(str(Settings.model_fields[f"{name}_port"].default) for name in engine.NAMES)
    parser.add_argument(
        "--ports", type=_ports, default=ports, help="案件、通知、共享三个服务的端口（默认 %(default)s）"
    )
    return parser


def _ports(text: str) -> Ports:
    """Three ports with commas between; 0 stands for any that is free."""
    given = text.split(",")
    if len(given) != len(engine.NAMES) or not all(port.isdecimal() for port in given):
        raise argparse.ArgumentTypeError("应为三个端口，用逗号分开；0 表示任选空闲端口")
    free = engine.free_ports()
    return {name: int(port) or free[name] for name, port in zip(engine.NAMES, given, strict=True)}


def _demonstrate(given: argparse.Namespace, telling: Telling) -> int:
    begun = monotonic()
    qinghe = county.load()
    telling.title(
        f"联动 · {qinghe.name}演示", f"虚构县：区划代码 {qinghe.division} 从未分配，人名、证号均属虚构"
    )
    with (
        receiver.listening() as system,
        engine.running(given.data, given.ports, coordinator=qinghe.office.id, system=system.port),
    ):
        telling.note("启动", f"嵌入式引擎（SQLite 与内置事件日志，一个进程），数据在 {given.data}")
        addresses, issue = engine.addresses(given.ports), callers.issuer(given.data)
        with closing(
            Deployment(addresses, issue, hands=engine.hands(given.data), system=system)
        ) as deployment:
            found = performance.perform(qinghe, deployment, telling, given.data / "papers")
            holds = all(check.holds for check in found)
            telling.ends(
                holds, f"{'全部核对通过' if holds else '有核对未通过'}，用时 {monotonic() - begun:.1f} 秒"
            )
            if given.once:
                return 0 if holds else 1
            _invite(qinghe, deployment, telling)
            threading.Event().wait()
    raise AssertionError("nothing sets this event")


def _invite(qinghe: County, deployment: Deployment, telling: Telling) -> None:
    """Addresses and a token for each role, for whoever wants to look around."""
    telling.chapter("服务在运行", "Ctrl-C 停止；接口说明在各地址的 /docs")
    titles = {"cases": "案件", "notify": "通知", "sharing": "共享"}
    for name, urls in deployment.addresses.items():
        telling.note(titles[name], urls[0])
    telling.chapter("各角色的凭证", "12 小时有效；用法：curl -H 'Authorization: Bearer <凭证>' <地址>")
    for person in cast(qinghe).all():
        roles = "、".join(person.roles)
        telling.plain(f"\n  {person.agency.short} {person.title}（{person.id}，{roles}）")
        telling.plain(deployment.token(person))
    telling.plain()


@contextmanager
def _heeding_signals() -> Iterator[None]:
    """SIGTERM and Ctrl-C end the block in order, so that the services end with it."""

    def stop(number: int, frame: object) -> None:
        # Once is enough: a second Ctrl-C must not cut short the end of the services.
        for heeded in before:
            signal.signal(heeded, signal.SIG_IGN)
        raise Stopped

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
