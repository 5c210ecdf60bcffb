"""Reads the fictional county of `qinghe/`, and refuses a table that contradicts itself or looks real."""

from __future__ import annotations

import csv
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import combinations
from typing import Any

from libs.common.law import basis, codes

#: First two characters of a credit code: registered by the establishment office, an organ of the State.
ORGAN = "11"
#: Digit 7 of a division code, by kind.
_DIGIT = {"street": "0", "township": "12"}
#: How many officers every agency has at least whose certificate has not run out.
FEWEST = 3


class BadTable(ValueError):
    """A table of the county contradicts itself; the message names the row."""


@dataclass(frozen=True, slots=True)
class Agency:
    """An agency; `short` is what people call it, and how the other tables name it."""

    id: str
    short: str
    name: str
    kind: str
    division: str
    coordinates: bool

    @property
    def is_township(self) -> bool:
        return self.kind in ("township", "street")


@dataclass(frozen=True, slots=True)
class Officer:
    """A person who enforces for an agency, with their certificate."""

    id: str
    agency: str
    name: str
    certificate: str
    valid_from: date
    valid_to: date


@dataclass(frozen=True, slots=True)
class Power:
    """A power that a department has by statute."""

    code: str
    name: str
    department: str
    basis: str
    penalty_range: str
    rectify_first: bool


@dataclass(frozen=True, slots=True)
class Grant:
    """One power given to one township."""

    power: str
    agency: str
    mode: str
    document: str
    effective_on: date
    recalled_on: date | None = None
    recall_document: str = ""


@dataclass(frozen=True, slots=True)
class County:
    """The whole county, checked."""

    name: str
    division: str
    agencies: Mapping[str, Agency]  #: by short name, the coordinating one first
    officers: tuple[Officer, ...]
    powers: Mapping[str, Power]  #: by code
    grants: tuple[Grant, ...]

    @property
    def office(self) -> Agency:
        """The agency that keeps the register and coordinates."""
        return next(agency for agency in self.agencies.values() if agency.coordinates)

    def of_kind(self, *kinds: str) -> list[Agency]:
        return [agency for agency in self.agencies.values() if agency.kind in kinds]

    def power(self, name: str) -> Power:
        """The power of this name."""
        return next(power for power in self.powers.values() if power.name == name)

    def certified(self, agency: str, on: date) -> list[Officer]:
        """The officers of an agency who may act on this day."""
        return [o for o in self.officers if o.agency == agency and o.valid_from <= on <= o.valid_to]

    def expired(self, agency: str, on: date) -> list[Officer]:
        """The officers of an agency whose certificate has run out."""
        return [o for o in self.officers if o.agency == agency and o.valid_to < on]

    def short(self, id_: str) -> str:
        """What people call the agency with this credit code; the code itself where it is none of ours."""
        return next((agency.short for agency in self.agencies.values() if agency.id == id_), id_)

    def holds(self, agency: str, power: str, on: date) -> bool:
        """Whether a grant gives this power to this agency on this day."""
        return any(
            (g.agency, g.power) == (agency, power)
            and g.effective_on <= on
            and (g.recalled_on is None or on < g.recalled_on)
            for g in self.grants
        )


def load() -> County:
    """The county of this release. Raises BadTable."""
    folder = resources.files(__package__).joinpath("qinghe")
    about = tomllib.loads(folder.joinpath("county.toml").read_text("utf-8"))
    county = County(
        name=about["name"],
        division=about["division"],
        agencies={row["short"]: _agency(row) for row in _rows(folder.joinpath("agencies.csv"))},
        officers=tuple(_officer(row) for row in _rows(folder.joinpath("officers.csv"))),
        powers={row["code"]: _power(row) for row in _rows(folder.joinpath("powers.csv"))},
        grants=tuple(_grants(about["grant"])),
    )
    check(county)
    return county


def check(county: County) -> None:
    """Every row is well formed, fictional, and fits the others. Raises BadTable."""
    for agency in county.agencies.values():
        _check_agency(county, agency)
    _require(sum(agency.coordinates for agency in county.agencies.values()) == 1, "one agency coordinates")
    _require(next(iter(county.agencies.values())).coordinates, "the coordinating agency stands first")
    for power in county.powers.values():
        _check_power(county, power)
    for grant in county.grants:
        _check_grant(county, grant)
    _check_apart(county)
    _check_officers(county)


def _check_agency(county: County, agency: Agency) -> None:
    of_county = agency.id.startswith(ORGAN + county.division) and codes.is_uscc(agency.id)
    _require(of_county, f"{agency.short}: {agency.id} is no credit code of an organ of {county.name}")
    _require(codes.is_division(agency.division), f"{agency.short}: no division code")
    if not agency.is_township:
        _require(agency.division == county.division, f"{agency.short}: acts for the county")
        return
    fits = len(agency.division) == 9 and agency.division.startswith(county.division)
    _require(fits and agency.division[6] in _DIGIT[agency.kind], f"{agency.short}: {agency.division}")


def _check_power(county: County, power: Power) -> None:
    department = county.agencies.get(power.department)
    _require(department is not None and department.kind == "department", f"{power.code}: no department")
    _require(codes.is_power(power.code), f"{power.code}: no power code")
    read = codes.read_power(power.code)
    _require(read.type == "02", f"{power.code}: no penalty")
    _require(read.serial >= "901", f"{power.code}: the serial may be a real one")
    _require(read.province in ("00", county.division[:2]), f"{power.code}: of another province")
    _require(bool(basis.cited(power.basis)), f"{power.code}: cites no article")


def _check_grant(county: County, grant: Grant) -> None:
    row = f"{grant.power} to {grant.agency}"
    _require(grant.power in county.powers, f"{row}: no such power")
    township = county.agencies.get(grant.agency)
    _require(township is not None and township.is_township, f"{row}: no township")
    _require(grant.mode in ("conferred", "delegated"), f"{row}: no such mode")
    _require("虚构" in grant.document, f"{row}: the document does not say that it is made up")
    _require(
        grant.recalled_on is None or grant.recalled_on > grant.effective_on, f"{row}: recalled too early"
    )


def _check_apart(county: County) -> None:
    """No number is anybody's twice, and no township holds a power twice at a time."""
    numbers = Counter(
        [agency.id for agency in county.agencies.values()]
        + [agency.division for agency in county.agencies.values() if agency.is_township]
        + [officer.id for officer in county.officers]
        + [officer.certificate for officer in county.officers]
    )
    _require(max(numbers.values()) == 1, f"given twice: {numbers.most_common(1)[0][0]}")
    for one, other in combinations(county.grants, 2):
        same = (one.agency, one.power) == (other.agency, other.power)
        starts = max(one.effective_on, other.effective_on)
        ends = [grant.recalled_on for grant in (one, other) if grant.recalled_on]
        _require(not same or any(end <= starts for end in ends), f"{one.power} to {one.agency}: twice")


def _check_officers(county: County) -> None:
    for officer in county.officers:
        _require(officer.agency in county.agencies, f"{officer.id}: of no agency")
        _require("虚构" in officer.certificate, f"{officer.id}: the certificate may be a real one")
        _require(officer.valid_from < officer.valid_to, f"{officer.id}: valid never")
    last = max(officer.valid_to for officer in county.officers)
    lasting = Counter(officer.agency for officer in county.officers if officer.valid_to == last)
    for short in county.agencies:
        _require(lasting[short] >= FEWEST, f"{short}: fewer than {FEWEST} officers")


def _rows(table: Traversable) -> Iterator[dict[str, str]]:
    yield from csv.DictReader(table.read_text("utf-8").splitlines(), strict=True)


def _agency(row: Mapping[str, str]) -> Agency:
    coordinates = row["coordinates"] == "yes"
    return Agency(row["id"], row["short"], row["name"], row["kind"], row["division"], coordinates)


def _officer(row: Mapping[str, str]) -> Officer:
    days = date.fromisoformat(row["valid_from"]), date.fromisoformat(row["valid_to"])
    return Officer(row["id"], row["agency"], row["name"], row["certificate"], *days)


def _power(row: Mapping[str, str]) -> Power:
    rectify_first = row["rectify_first"] == "yes"
    return Power(
        row["code"], row["name"], row["department"], row["basis"], row["penalty_range"], rectify_first
    )


def _grants(tables: Iterable[Mapping[str, Any]]) -> Iterator[Grant]:
    """One grant for each township and power of each decision."""
    for table in tables:
        shared = {name: value for name, value in table.items() if name not in ("powers", "agencies")}
        for agency in table["agencies"]:
            for power in table["powers"]:
                yield Grant(power=power, agency=agency, **shared)


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise BadTable(complaint)
