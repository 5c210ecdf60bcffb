"""`python -m services.notify`: this service alone, on the distributed engine."""

from __future__ import annotations

import sys

from services import starting
from services.notify import app

if __name__ == "__main__":
    sys.exit(starting.one("notify", app.create))
