"""The embedded engine: the three services in one process, on one data directory."""

from __future__ import annotations

from libs.common.settings import Misconfigured, Settings
from services import parts, serving
from services.cases import app as cases
from services.notify import app as notify
from services.sharing import app as sharing

CREATE: dict[str, parts.Create] = {
    "cases": cases.create,
    "notify": notify.create,
    "sharing": sharing.create,
}


async def run(settings: Settings) -> None:
    """Serve until told to end. Raises Misconfigured, also where another process uses the data."""
    if settings.engine != "embedded":
        raise Misconfigured(
            "已设置 LIANDONG_DATABASE 和 LIANDONG_KAFKA：请分别运行 python -m services.cases、"
            "services.notify、services.sharing"
        )
    async with parts.embedded(settings) as three:
        apps = {settings.port(name): CREATE[name](three[name]) for name in parts.NAMES}
        taken = [port for port in apps if not serving.free(settings.host, port)]
        if taken:
            raise Misconfigured(f"端口已被占用：{'、'.join(map(str, taken))}")
        await serving.serve(apps, host=settings.host)
