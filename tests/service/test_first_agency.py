"""An empty register has one first agency, however many registrars come at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from libs.common.permit import Role
from tests.worlds import cast
from tests.worlds.deployment import on_embedded

pytestmark = pytest.mark.anyio


async def test_two_registrars_of_an_empty_register_make_one_first_agency(tmp_path: Path) -> None:
    async with on_embedded(tmp_path) as county:
        codes = (cast.OFFICE, cast.DEPARTMENT)
        bodies = [
            {"id": c, "name": "某机关", "kind": "government", "division": "331221", "coordinates": True}
            for c in codes
        ]
        answers = await asyncio.gather(
            *(
                county.ask("cases", code, Role.REGISTRAR).post("/v1/agencies", json=body)
                for code, body in zip(codes, bodies, strict=True)
            )
        )
        assert sorted(answer.status_code for answer in answers) == [201, 403]
