"""One worker of `cases` with its loops at rest: what a request costs, and nothing besides.

`python -m benchmarks.worker <data> <database> <port>`. The composition is the service's own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn
from pydantic import SecretStr

from libs.common import telemetry
from libs.common.settings import Settings
from services import parts, starting
from services.cases import app as cases


async def main(data: Path, database: str, port: int) -> None:
    # Kafka is never spoken to: the loops do not start.
    settings = Settings(data=data, database=SecretStr(database), kafka="127.0.0.1:1")
    telemetry.log_as_json()
    async with parts.distributed(settings, "cases") as made:
        app = cases.create(made)
        config = uvicorn.Config(app, port=port, lifespan="off", log_config=None, access_log=False)
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    data, database, port = sys.argv[1:]
    starting.to_the_end(main(Path(data), database, int(port)))
