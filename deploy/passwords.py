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
    "GF_SECURITY_ADMIN_PASSWORD",
)

if __name__ == "__main__":
    # What the file holds stays as it is: the databases know those passwords. A new release may ask for more.
    with os.fdopen(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "a+") as file:
        file.seek(0)
        held = file.read()
        missing = [name for name in NAMES if f"\n{name}=" not in f"\n{held}"]
        if held and not held.endswith("\n"):
            file.write("\n")
        file.writelines(f"{name}={secrets.token_urlsafe(24)}\n" for name in missing)
