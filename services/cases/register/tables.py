"""Agencies, powers and grants as rows."""

from __future__ import annotations

from datetime import date
from typing import ClassVar

from sqlmodel import Field, SQLModel

from libs.common.store.schema import Entry


class Agency(Entry):
    """An agency of the county (机关): government, department, township or street."""

    TABLE: ClassVar[str] = "agencies"
    id: str = Field(primary_key=True)  #: unified social credit code
    name: str
    kind: str  #: government, department, township, street
    division: str  #: 6 digits for the county's own, 9 for a township or street
    coordinates: bool  #: the office of the joint meeting (联席会议办公室)

    @property
    def is_township(self) -> bool:
        """Townships and streets act by grant (24), departments by statute (17, 23)."""
        return self.kind in ("township", "street")

    def covers(self, territory: str) -> bool:
        """Whether a place, by its division code, lies where the agency acts (行政处罚法 22)."""
        return territory.startswith(self.division)


class AgencyRow(Agency, table=True): ...


class Power(Entry):
    """A power (职权事项) of a county department. Its grants live in its stream."""

    TABLE: ClassVar[str] = "powers"
    code: str = Field(primary_key=True)  #: twelve digits
    name: str
    department: str  #: the agency that has it by statute
    basis: str  #: the article that penalises
    penalty_range: str
    rectify_first: bool  #: 责令改正 must come before the fine


class PowerRow(Power, table=True): ...


class Grant(Entry):
    """A power given to a township (赋权): conferred (24) or delegated (20)."""

    TABLE: ClassVar[str] = "grants"
    id: str = Field(primary_key=True)  #: <power>.g<number>: the stream is known from the id
    power: str = Field(index=True)
    agency: str = Field(index=True)
    department: str
    mode: str  #: conferred (交由): in its own name; delegated (委托): in the department's name
    document: str  #: number of the published decision
    effective_on: date
    recalled_on: date | None = None  #: the first day on which it no longer holds
    recall_document: str = ""

    def holds_on(self, day: date) -> bool:
        return self.effective_on <= day and (self.recalled_on is None or day < self.recalled_on)


class GrantRow(Grant, table=True): ...


ROWS: tuple[type[SQLModel], ...] = (AgencyRow, PowerRow, GrantRow)


def power_of(grant: str) -> str:
    """The power in whose stream a grant lives."""
    return grant.rpartition(".g")[0]
