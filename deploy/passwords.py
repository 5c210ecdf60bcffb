"""Make up the passwords that docker-compose.yml asks for, in a file that only its owner may read."""

from __future__ import annotations

import os
import secrets
import sys

NAMES = (
    "POSTGRES_PASSWORD",
    "CASES_DATABASE_PASSWORD",
    "NOTIFY_DATABASE_PASSWORD",
    "SHARING_DATABASE_PASSWORD",
)

if __name__ == "__main__":
    # A file that exists is refused: the databases know the passwords in it.
    with os.fdopen(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.writelines(f"{name}={secrets.token_urlsafe(24)}\n" for name in NAMES)
