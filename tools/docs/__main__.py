"""`python -m tools.docs` writes the generated pages; with `--check` it fails and names stale ones."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from tools.docs import events, law, problems, settings
from tools.docs.markdown import ROOT
from tools.operators import alerts, grafana
from tools.operators.dashboards import DASHBOARDS

PAGES: Mapping[str, Callable[[], str]] = {
    "docs/events.md": events.page,
    "docs/law.md": law.page,
    "docs/settings.md": settings.page,
    "docs/problems.md": problems.page,
    "deploy/prometheus/rules/liandong.yml": alerts.page,
    **{
        f"deploy/grafana/dashboards/{dashboard.uid.removeprefix('liandong-')}.json": partial(
            grafana.page, dashboard
        )
        for dashboard in DASHBOARDS
    },
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages, or check them; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.docs")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page is stale")
    check = parser.parse_args(arguments).check
    stale = {name: text for name, make in PAGES.items() if (text := make()) != _written(name)}
    for name, text in stale.items():
        if check:
            print(f"stale: {name} (`make fix` writes it)", file=sys.stderr)
        else:
            (ROOT / name).write_text(text, encoding="utf-8")
            print(f"wrote {name}")
    return 1 if check and stale else 0


def _written(name: str) -> str:
    file = ROOT / name
    return file.read_text(encoding="utf-8") if file.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
