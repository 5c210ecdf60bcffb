"""The ledger keeps what it was told, and is read also where its last line was cut off."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.faults import ledger
from tests.faults.ledger import Ledger

pytestmark = pytest.mark.anyio

INVOKE = {"service": "cases", "agency": "a", "verb": "clue", "path": "/v1/clues", "sha256": "0"}


async def test_what_was_written_is_on_disk_when_the_call_returns(tmp_path: Path) -> None:
    book = Ledger(tmp_path / "ledger.jsonl")
    await asyncio.gather(*(book.write("invoke", f"k{n}", **INVOKE) for n in range(50)))
    await book.write("unknown", "k7", why="ReadTimeout")
    await book.write("ok", "k7", status=201, sha256="1", told={"id": "c"})
    found = ledger.read(book.file)
    book.close()
    assert len(found) == 50
    assert (found["k7"].outcome, found["k7"].told, len(found["k7"].lines)) == ("ok", {"id": "c"}, 3)
    assert found["k8"].outcome == "unknown"


async def test_half_a_last_line_is_left_out(tmp_path: Path) -> None:
    book = Ledger(tmp_path / "ledger.jsonl")
    await book.write("invoke", "k1", **INVOKE)
    await book.write("refused", "k1", status=409, code="not-offered")
    book.close()
    book.file.write_bytes(book.file.read_bytes() + b'{"do": "ok", "key": "k1", "st')
    assert ledger.read(book.file)["k1"].outcome == "refused"
