"""Migrations: bring a service's database to the revision of this release, or refuse to work on another.

Each service has an Alembic environment in `services/<name>/migrations`: `__init__.py` names its tables,
`env.py` hands them to `migrate`, `versions` holds the steps. Steps only lead forward: what a release needs is
added before the code that uses it and enforced after it, so that the last release runs on the new schema.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

import sqlalchemy
from alembic import command, context
from alembic.autogenerate.api import AutogenContext
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Connection, MetaData, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from sqlmodel import AutoString

from libs.common import errors
from libs.common.store import schema

T = TypeVar("T")

#: An SQLite file or a postgresql+asyncpg:// address.
Database = Path | str

#: PostgreSQL's lock under which one process migrates while the others wait; the number means nothing.
_TURN = 7_105_113
#: Alembic's `context` is one for the process, so migrations within one take turns too.
_ALEMBIC = threading.Lock()


class WrongRevision(Exception):
    """The database is not at the revision that this release works on; the Chinese message says what to do."""


async def upgrade(database: Database, service: str) -> None:
    """Bring a database to this release's revision: all of it or nothing; doing it again changes nothing.

    Raises WrongRevision for a database that is ahead of this release, Transient when it is down.
    """
    await run(database, lambda connection: _upgrade(connection, service))


async def check(database: Database, service: str) -> None:
    """Raises WrongRevision unless the database is at this release's revision, Transient when it is down."""
    await run(database, lambda connection: _check(connection, service))


async def run(database: Database, work: Callable[[Connection], T]) -> T:
    """Do `work` on a connection of its own, outside of any transaction, in a thread of its own."""
    if isinstance(database, Path):
        return await asyncio.to_thread(_run_on_file, database, work)
    return await asyncio.to_thread(lambda: asyncio.run(_run_on_server(database, work)))


def draft(service: str, message: str) -> None:
    """Write the service's next step into its `versions`: how its tables differ from where its steps lead.

    For developers, who go over what it wrote:
    `python -c 'from libs.common.store import migrate; migrate.draft("cases", "Add due days")'`
    """
    with tempfile.TemporaryDirectory() as directory, _connected(Path(directory) / "draft.db") as connection:
        config = _config(service, connection)
        command.upgrade(config, "head")
        number = len(list(_script(service).walk_revisions())) + 1
        command.revision(config, message, autogenerate=True, rev_id=f"{number:04}")


def migrate(metadata: MetaData) -> None:
    """What every `env.py` does: take the chosen steps on the given connection, in one transaction."""
    connection: Connection = context.config.attributes["connection"]
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_item=_render,
        # SQLite's DDL is transactional too, once the driver leaves BEGIN to us.
        transactional_ddl=True,
    )
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:turn)"), {"turn": _TURN})
        context.run_migrations()


def _upgrade(connection: Connection, service: str) -> None:
    found = _found(connection)
    if found and found not in {step.revision for step in _script(service).walk_revisions()}:
        raise WrongRevision(f"{service} 的数据库版本 {found} 比本程序新；请使用较新的程序")
    with _ALEMBIC:
        command.upgrade(_config(service, connection), "head")


def _check(connection: Connection, service: str) -> None:
    found, needed = _found(connection), _script(service).get_current_head()
    if found != needed:
        raise WrongRevision(
            f"{service} 的数据库版本是 {found or '空'}，本程序需要 {needed}；"
            f"请先运行 liandong migrate {service}"
        )


def _found(connection: Connection) -> str | None:
    """The revision that the database is at; None for an empty one."""
    found = MigrationContext.configure(connection).get_current_revision()
    connection.rollback()  # reading began a transaction, which is not the one to migrate in
    return found


def _script(service: str) -> ScriptDirectory:
    return ScriptDirectory.from_config(_config(service))


def _config(service: str, connection: Connection | None = None) -> Config:
    # By name, because libraries import no service.
    place = str(resources.files(f"services.{service}.migrations"))
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", place.replace("%", "%%"))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    return config


def _render(kind: str, item: Any, autogenerate: AutogenContext) -> str | Literal[False]:
    """Steps speak SQLAlchemy alone: a later release may name our own types otherwise, or not have them."""
    if kind != "type":
        return False
    if isinstance(item, schema.UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if isinstance(item, AutoString):
        return "sa.String()"
    if isinstance(item, JSON):
        autogenerate.imports.add("from sqlalchemy.dialects import postgresql")
        return "sa.JSON().with_variant(postgresql.JSONB(), 'postgresql')"
    return False


async def _run_on_server(url: str, work: Callable[[Connection], T]) -> T:
    engine = create_async_engine(url, poolclass=NullPool, connect_args={"timeout": 10})
    try:
        connection = await engine.connect()
    except (OSError, DBAPIError) as error:
        await engine.dispose()
        raise errors.Transient(f"无法连接数据库（{type(error).__name__}）") from error
    try:
        return await connection.run_sync(work)
    finally:
        await connection.close()
        await engine.dispose()


def _run_on_file(file: Path, work: Callable[[Connection], T]) -> T:
    with _connected(file) as connection:
        return work(connection)


@contextmanager
def _connected(file: Path) -> Iterator[Connection]:
    engine = sqlalchemy.create_engine(sqlalchemy.URL.create("sqlite", database=str(file)), poolclass=NullPool)
    event.listen(engine, "connect", _leave_begin_to_us)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _leave_begin_to_us(raw: Any, _record: object) -> None:
    raw.isolation_level = None
