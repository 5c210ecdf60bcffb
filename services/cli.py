"""`liandong`: keys, tokens, topics, migrations; what is stored, verified; redrive, rebuild, the board."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from libs.common import wording
from libs.common.permit import Role
from libs.common.seal import Keyring
from libs.common.settings import Misconfigured, Settings
from libs.common.store import audit, migrate
from libs.common.web import tokens
from services import parts, starting

#: Seconds that a rebuild is waited for.
PATIENCE = 600.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; gives the exit code."""
    given = _parser().parse_args(arguments)
    return starting.main(lambda chosen: given.run(chosen, given))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="liandong", description="联动：钥匙、凭证、迁移与运维")
    verbs = parser.add_subparsers(required=True, metavar="命令")

    token = verbs.add_parser("token", help="签发访问凭证（使用本安装自己的签名钥匙）")
    token.add_argument("--agency", required=True, help="机关统一社会信用代码")
    token.add_argument("--person", required=True, help="人员标识")
    token.add_argument("--role", required=True, action="append", choices=[r for r in Role if r != "service"])
    token.add_argument("--seconds", type=int, default=3600, help="有效秒数（默认 3600）")
    token.set_defaults(run=_token)

    verbs.add_parser("keys", help="生成签名钥匙（已有则不变）").set_defaults(run=_keys)
    verbs.add_parser("topics", help="建立 Kafka 主题（已有则核对分区数）").set_defaults(run=_topics)

    migration = verbs.add_parser("migrate", help="把一个服务的数据库迁移到本版本")
    migration.add_argument("service", choices=parts.NAMES)
    migration.set_defaults(run=_migrate)

    redrive = verbs.add_parser("redrive", help="重新处理某个服务搁置的事件（默认只试算）")
    redrive.add_argument("service", choices=parts.NAMES)
    redrive.add_argument("--stream", help="只处理这个流，例如 case/…")
    redrive.add_argument("--execute", action="store_true", help="真正执行，而不是试算")
    redrive.add_argument("--reason", default="", help="为何重新处理")
    _who(redrive)
    redrive.set_defaults(run=_redrive)

    verify = verbs.add_parser("verify", help="核验一个服务存储的全程留痕，逐条指出不符之处")
    verify.add_argument("service", choices=parts.NAMES)
    verify.add_argument("--token", help="运维人员的访问凭证：向其他服务询问它们见证的链首")
    verify.add_argument(
        "--witness", action="append", default=[], metavar="文件", help="另行保存的 /v1/witnesses 的答复"
    )
    verify.set_defaults(run=_verify)

    board = verbs.add_parser("open", help="打开态势板：给出一次性链接，60 秒内有效")
    board.add_argument("--token", required=True, help="要看态势板的人自己的访问凭证")
    board.set_defaults(run=_open)

    rebuild = verbs.add_parser("rebuild", help="从日志重建协同态势，期间照常读取")
    _who(rebuild)
    rebuild.set_defaults(run=_rebuild)
    return parser


def _who(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--token", required=True, help="运维人员的访问凭证")


async def _token(chosen: Settings, given: argparse.Namespace) -> None:
    keyring = Keyring.at(chosen.key_directory)
    issuer = tokens.Issuer(keyring.tokens, chosen.issuer, chosen.audience)
    roles = [Role(role) for role in given.role]
    if given.seconds > chosen.token_seconds:
        raise Misconfigured(f"凭证有效期最长 {chosen.token_seconds} 秒")
    print(issuer.issue(given.person, given.agency, roles, given.seconds))


async def _keys(chosen: Settings, given: argparse.Namespace) -> None:
    keyring = Keyring.at(chosen.key_directory)
    print(f"{chosen.key_directory}: {keyring.seal.key_id}")


async def _topics(chosen: Settings, given: argparse.Namespace) -> None:
    log = parts.kafka(chosen)
    try:
        await log.prepare([parts.topic(name) for name in parts.NAMES])
    finally:
        await log.close()


async def _migrate(chosen: Settings, given: argparse.Namespace) -> None:
    await migrate.upgrade(chosen.database_for(given.service), given.service)


async def _redrive(chosen: Settings, given: argparse.Namespace) -> None:
    body: dict[str, Any] = {"dry_run": not given.execute}
    if given.stream:
        body["filter"] = {"stream": given.stream}
    async with _client(chosen.base_url(given.service), given.token) as client:
        headers = {"audit-reason": quote(given.reason)} if given.reason else {}
        answer = await client.post("/v1/redrives", json=body, headers=headers)
    _show(answer)


async def _rebuild(chosen: Settings, given: argparse.Namespace) -> None:
    async with _client(chosen.base_url("sharing"), given.token) as client:
        answer = await client.post("/v1/rebuilds", json={})
        _show(answer)
        async with asyncio.timeout(PATIENCE):
            while (progress := _read(await client.get(answer.headers["location"])))["state"] == "running":  # noqa: ASYNC110
                await asyncio.sleep(0.2)  # it runs in another process
    print(json.dumps(progress, ensure_ascii=False, indent=2))


async def _open(chosen: Settings, given: argparse.Namespace) -> None:
    async with _client(chosen.base_url("sharing"), given.token) as client:
        told = _read(await client.post("/v1/board/links", json={}))
    print(f"{chosen.base_url('sharing')}{told['href']}")


async def _verify(chosen: Settings, given: argparse.Namespace) -> int:
    # The witnesses first: what they have heard was stored before, so the journal must be at least as far.
    kept = [w for name in given.witness for w in _witnesses(name, given.service, _kept(name))]
    asked = [witness async for witness in _asked(chosen, given)] if given.token else []
    async with parts.stored(chosen, given.service) as store:
        found = await audit.audit(store, given.service, [*kept, *asked])
    for flaw in found.flaws:
        print(f"✗ {wording.shown(flaw.stream)} 第 {flaw.seq} 条：{flaw.what}")
    print(f"{found.streams} 个流，{found.entries} 条；与见证的 {found.witnessed} 个链首核对")
    if not (kept or asked):
        print("! 没有见证：整条链被重新计算或整库被恢复到较早时刻，都看不出来。请用 --token 或 --witness")
    print(f"核验不通过：{len(found.flaws)} 处" if found.flaws else "核验通过")
    return 1 if found.flaws else 0


async def _asked(chosen: Settings, given: argparse.Namespace) -> AsyncIterator[audit.Witness]:
    """What the other services have heard of this one."""
    for other in parts.NAMES:
        query = {"source": given.service}
        async with _client(chosen.base_url(other), given.token) as client:
            while other != given.service and query:
                page = _read(await client.get("/v1/witnesses", params=query))
                for witness in _witnesses(other, given.service, page["data"]):
                    yield witness
                query = {**query, "cursor": page["next"]} if page["next"] else {}


def _kept(name: str) -> list[Any]:
    """The heads in a file: one witness, or a list as the services give it."""
    try:
        read = json.loads(Path(name).read_bytes())
    except (OSError, ValueError) as why:
        raise Misconfigured(f"{name} 不可读：{why}") from None
    return read["data"] if isinstance(read, dict) and "data" in read else [read]


def _witnesses(by: str, source: str, told: list[Any]) -> list[audit.Witness]:
    try:
        if all(w["source"] == source for w in told):
            return [audit.Witness(by, w["stream"], int(w["seq"]), bytes.fromhex(w["digest"])) for w in told]
    except (KeyError, TypeError, ValueError):
        pass
    raise Misconfigured(f"{by} 给出的不是 {source} 的见证：每条应有 source、stream、seq、digest")


def _client(base_url: str, token: str) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {token}", "idempotency-key": str(uuid.uuid4())}
    return httpx.AsyncClient(base_url=base_url, headers=headers, timeout=60.0, trust_env=False)


def _show(answer: httpx.Response) -> None:
    print(json.dumps(_read(answer), ensure_ascii=False, indent=2))


def _read(answer: httpx.Response) -> Any:
    """The answer's JSON; a problem ends the command with its sentence."""
    told = answer.json()
    if answer.is_error:
        raise Misconfigured(f"{answer.status_code} {told.get('detail', told)}")
    return told


if __name__ == "__main__":
    sys.exit(main())
