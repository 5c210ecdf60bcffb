"""`python -m services`: all three services in one process, on the embedded engine."""

from __future__ import annotations

import sys

from services import embedded, starting

if __name__ == "__main__":
    sys.exit(starting.main(embedded.run))
