"""Runs the benchmarks: `python -m benchmarks [P1 P2 ...] [--pairs 5]`.

The table goes to the standard output. The exit code is 1 where a gate is broken: a figure that came of
wrong work is none. A goal that is not reached fails nothing; it is said in the table.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack
from typing import Any

from benchmarks import commands, embedded, seen, webhooks, wire
from benchmarks.machine import Machine
from benchmarks.table import Table
from services import starting

#: In the order of the goals.
PATHS: Mapping[str, Callable[[Machine, Table, int], Coroutine[Any, Any, None]]] = {
    "P1": commands.core,
    "P2": commands.over_http,
    "P5": wire.relay,
    "P7": wire.reactions,
    "P9": embedded.commands,
    "P10": webhooks.beside_httpx,
    "P11": seen.filed_to_seen,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("paths", nargs="*", help=f"all, or some of {', '.join(PATHS)}")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of measurements of each path")
    asked = parser.parse_args()
    unknown = set(asked.paths) - PATHS.keys()
    if unknown:
        parser.error(f"no such path: {', '.join(sorted(unknown))}")
    table = Table()
    with ExitStack() as stack:
        machine = stack.enter_context(Machine())
        for name, measure in PATHS.items():
            if not asked.paths or name in asked.paths:
                began = time.monotonic()
                starting.to_the_end(measure(machine, table, asked.pairs))
                print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    print(f"{machine.description}; medians of {asked.pairs} pairs\n\n{table}")
    return 1 if table.broken else 0


if __name__ == "__main__":
    sys.exit(main())
