"""Policies that were put in place here, as rows; those of the release are a file."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlmodel import Field, SQLModel

from libs.common.store.schema import Entry, json_column


class EscalationPolicy(Entry):
    """A policy that the county put in place; it counts over the one of the release."""

    TABLE: ClassVar[str] = "escalation_policies"
    id: str = Field(primary_key=True)
    name: str
    levels: list[dict[str, Any]] = json_column()
    version: int


class EscalationPolicyRow(EscalationPolicy, table=True): ...


ROWS: tuple[type[SQLModel], ...] = (EscalationPolicyRow,)
