"""Starts a process: settings, logs, and a clear sentence instead of a traceback where it cannot start."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import uvloop

from libs.common import errors, settings, telemetry
from libs.common.log.seam import TopicMismatch
from libs.common.settings import Misconfigured, Name, Settings
from libs.common.store import migrate
from services import parts, serving

T = TypeVar("T")

#: Exit code of a process that was refused its start (EX_CONFIG of sysexits.h).
REFUSED = 78


def main(run: Callable[[Settings], Coroutine[Any, Any, int | None]]) -> int:
    """Run to the end; gives the exit code, which is that of `run` where it has one."""
    try:
        chosen = settings.load()
        telemetry.log_as_json(chosen.log_level)
        return to_the_end(run(chosen)) or 0
    except (Misconfigured, migrate.WrongRevision, TopicMismatch) as refused:
        sys.stderr.write(f"未能完成：{refused}\n")
        return REFUSED
    except errors.Transient as down:
        sys.stderr.write(f"未能完成：{down.detail}\n")
        return REFUSED


def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Run as every process of ours does: on uvloop, with a collector that is told what stays.

    Left to itself it looks at everything that was ever imported after each few hundred rows.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def one(name: Name, create: parts.Create) -> int:
    """Run one service alone, on the distributed engine."""

    async def run(chosen: Settings) -> None:
        async with parts.distributed(chosen, name) as own:
            await serving.serve({chosen.port(name): create(own)}, host=chosen.host)

    return main(run)
