"""Whether a service answers in this container: exit 0 or 1. By default each of the three ports is tried."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request

PORTS = ("8001", "8002", "8003")


def answers(port: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=3) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


if __name__ == "__main__":
    sys.exit(not any(map(answers, sys.argv[1:] or PORTS)))
