"""`liandong`: keys, tokens, topics and migrations; redrive and rebuild, which ask the running services."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import uuid
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import httpx

from libs.common.permit import Role
from libs.common.seal import Keyring
from libs.common.settings import Misconfigured, Settings
from libs.common.store import migrate
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
