"""`python -m services.cases`: this service alone, on the distributed engine."""

from __future__ import annotations

import sys

from services import starting
from services.cases import app

if __name__ == "__main__":
    sys.exit(starting.one("cases", app.create))
