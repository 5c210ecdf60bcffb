"""Settings: environment variables `LIANDONG_*`, or files of the same names in /run/secrets.

The engine is chosen by settings alone: with neither `LIANDONG_DATABASE` nor `LIANDONG_KAFKA` it is the
embedded one, with both the distributed one, and with one of them the program refuses to start.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from libs.common import wording
from libs.common.law import codes
from libs.common.outgoing import targets

PREFIX = "LIANDONG_"
_SECRETS = Path("/run/secrets")

Engine = Literal["embedded", "distributed"]
Name = Literal["cases", "notify", "sharing"]


class Misconfigured(Exception):
    """The settings cannot be what anybody wants; the Chinese message says which and why."""


def _uscc(text: str) -> str:
    if not codes.is_uscc(text):
        raise ValueError("应为 18 位统一社会信用代码，且校验码正确（GB 32100）")
    return text


def _address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("应为 http 或 https 网址")
    return text.rstrip("/")


def _database(secret: SecretStr) -> SecretStr:
    url = secret.get_secret_value()
    if not url.startswith("postgresql+asyncpg://"):
        raise ValueError("应以 postgresql+asyncpg:// 开头")
    if set(re.findall(r"\{[^}]*\}?|\}", url)) - {"{service}"}:
        raise ValueError("花括号中只能是 {service}")
    return secret


def _allowed(listed: str) -> str:
    try:
        targets.entries(listed)
    except ValueError:
        raise ValueError("应为网段（CIDR）或完整域名，以逗号分隔") from None
    return listed


Agency = Annotated[str, AfterValidator(_uscc)]
Address = Annotated[str, AfterValidator(_address)]
Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseSettings):
    """All that may differ between two installations."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, env_ignore_empty=True)

    #: Directory of the embedded engine's databases and log, and of keys unless `keys` says otherwise.
    data: Path = Path(".liandong")
    #: PostgreSQL, postgresql+asyncpg://...; `{service}` becomes the service's name. Unset: embedded engine.
    database: Annotated[SecretStr, AfterValidator(_database)] | None = None
    #: Kafka's bootstrap servers, host:port with commas between. Unset: embedded engine.
    kafka: Annotated[str, Field(pattern=r"^[^\s,:]+:\d+(,[^\s,:]+:\d+)*$")] | None = None
    #: Partitions of every topic, fixed once it exists; by default 12, on the embedded engine 4.
    partitions: Annotated[int, Field(ge=1, le=256)] | None = None

    #: Copies of every topic that is made, one on each broker; with three, two must be in step to acknowledge.
    replication: Annotated[int, Field(ge=1, le=9)] = 1

    #: Address that the services listen on.
    host: str = "127.0.0.1"
    #: Port of `cases`.
    cases_port: Port = 8001
    #: Port of `notify`.
    notify_port: Port = 8002
    #: Port of `sharing`.
    sharing_port: Port = 8003
    #: Where others reach `cases`; by default its port on this machine.
    cases_url: Address | None = None
    #: Where others reach `notify`; by default its port on this machine.
    notify_url: Address | None = None
    #: Where others reach `sharing`; by default its port on this machine.
    sharing_url: Address | None = None

    #: `iss` of the access tokens of people and systems.
    issuer: Annotated[str, Field(min_length=1)] = "liandong"
    #: `aud` of every access token.
    audience: Annotated[str, Field(min_length=1)] = "liandong"
    #: The issuer's JWKS, a path or an http(s) address. Unset: tokens are our own (`liandong token`).
    jwks: Annotated[str, Field(min_length=1)] | None = None
    #: Longest life of an access token, seconds; by default 600, for tokens of our own 43200.
    token_max_seconds: Annotated[int, Field(ge=60, le=86400)] | None = None
    #: How far the issuer's clock may be from ours, seconds.
    token_leeway_seconds: Annotated[int, Field(ge=0, le=60)] = 30
    #: Directory of the keys that sign receipts, heads and our own tokens; by default `keys` in the data.
    keys: Path | None = None

    #: File that moves the clock (an RFC 3339 instant); embedded engine only, for demonstrations and tests.
    clock: Path | None = None
    #: Least severe level that is logged.
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    #: Agency that receives what no route can place; by default those registered as coordinating.
    default_agency: Agency | None = None

    #: Networks (CIDR) and host names of the intranet that webhooks may reach, with commas between.
    webhook_allow: Annotated[str, AfterValidator(_allowed)] = ""
    #: Ports that webhooks may reach, with commas between.
    webhook_ports: Annotated[str, Field(pattern=r"^[0-9]{1,5}(,[0-9]{1,5})*$")] = "443"
    #: Whether what is listed in `webhook_allow` may be reached by http as well.
    webhook_plain: bool = False
    #: Webhooks to healthy receivers that are sent at the same time.
    webhook_slots: Annotated[int, Field(ge=1, le=1000)] = 32

    #: Largest request body, bytes.
    body_bytes: Annotated[int, Field(ge=1024)] = 1 << 20
    #: Deepest nesting of a JSON body, levels.
    json_depth: Annotated[int, Field(ge=1, le=200)] = 32
    #: Most values in a JSON body, containers included.
    json_nodes: Annotated[int, Field(ge=1)] = 10_000
    #: How long a command decides again after conflicts before it answers that the system is busy, seconds.
    command_seconds: Annotated[float, Field(gt=0)] = 5.0
    #: Life of a lease; a loop whose process died is taken over after this, seconds.
    lease_seconds: Annotated[float, Field(gt=0)] = 10.0
    #: How often waiting readers of a feed look for what other processes entered, seconds.
    poll_seconds: Annotated[float, Field(gt=0)] = 1.0
    #: About how long a stream of a feed lasts before its reader must come again, seconds.
    stream_seconds: Annotated[float, Field(gt=0)] = 300.0
    #: How long one check of /readyz may take, seconds.
    ready_seconds: Annotated[float, Field(gt=0)] = 2.0

    @model_validator(mode="after")
    def _one_engine(self) -> Settings:
        if (self.database is None) != (self.kafka is None):
            given, missing = ("DATABASE", "KAFKA") if self.kafka is None else ("KAFKA", "DATABASE")
            raise ValueError(
                f"只设置了 {PREFIX}{given}，缺少 {PREFIX}{missing}："
                "分布式引擎两项都要设置，嵌入式引擎两项都不设置"
            )
        if self.clock is not None and self.engine == "distributed":
            raise ValueError(f"{PREFIX}CLOCK 只能用于嵌入式引擎：分布式引擎的时间不得移动")
        if self.engine == "distributed" and any(map(targets.is_loopback, self.webhook_policy.networks)):
            raise ValueError(f"{PREFIX}WEBHOOK_ALLOW 中的本机地址只能用于嵌入式引擎")
        return self

    @property
    def webhook_policy(self) -> targets.Policy:
        """Where webhooks may go."""
        networks, hosts = targets.entries(self.webhook_allow)
        ports = frozenset(map(int, self.webhook_ports.split(",")))
        return targets.Policy(networks, hosts, ports, self.webhook_plain)

    @property
    def engine(self) -> Engine:
        """Which engine these settings choose."""
        return "embedded" if self.database is None else "distributed"

    @property
    def partition_count(self) -> int:
        """Partitions of every topic."""
        return self.partitions or (4 if self.engine == "embedded" else 12)

    @property
    def key_directory(self) -> Path:
        """Where the keys are that this installation made."""
        return self.keys or self.data / "keys"

    @property
    def token_seconds(self) -> int:
        """The longest life of an access token that is believed, in seconds."""
        return self.token_max_seconds or (43200 if self.jwks is None else 600)

    def database_for(self, service: Name) -> str:
        """The service's own database on the distributed engine; the address holds the password."""
        if self.database is None:
            raise Misconfigured(f"嵌入式引擎没有 {PREFIX}DATABASE")
        return self.database.get_secret_value().replace("{service}", service)

    def port(self, service: Name) -> int:
        """The port that the service listens on."""
        return {"cases": self.cases_port, "notify": self.notify_port, "sharing": self.sharing_port}[service]

    def base_url(self, service: Name) -> str:
        """Where other services reach this one, without a slash at its end."""
        given = {"cases": self.cases_url, "notify": self.notify_url, "sharing": self.sharing_url}[service]
        return given or f"http://127.0.0.1:{self.port(service)}"


def load() -> Settings:
    """The settings of this process, or Misconfigured; a misspelt variable is refused, not ignored."""
    names = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for variable in os.environ:
        if variable.upper().startswith(PREFIX) and variable.upper() not in names:
            like = difflib.get_close_matches(variable.upper(), names, n=1)
            hint = f"，是否应为 {like[0]}" if like else ""
            raise Misconfigured(f"不认识的设置 {variable}{hint}")
    try:
        # The constructor that mypy derives from the fields lacks the settings' own parameters.
        return Settings(_secrets_dir=_SECRETS if _SECRETS.is_dir() else None)  # type: ignore[call-arg]
    except ValidationError as why:
        raise Misconfigured("\n".join(_told(finding) for finding in why.errors())) from None


def _told(finding: Mapping[str, object]) -> str:
    where = finding["loc"]
    name = f"{PREFIX}{str(where[0]).upper()}：" if isinstance(where, tuple) and where else ""
    return name + wording.explain(finding)
