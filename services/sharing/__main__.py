"""`python -m services.sharing`: this service alone, on the distributed engine."""

from __future__ import annotations

import sys

from services import starting
from services.sharing import app

if __name__ == "__main__":
    sys.exit(starting.one("sharing", app.create))
