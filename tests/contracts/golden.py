"""The golden samples: one structured CloudEvent of every type, as it was said when the type was new.

A sample is never changed. What is said of a type today must still be readable as it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

# The catalogue fills as the contracts are read.
from libs.common.contracts import cases, notify, sharing  # noqa: F401
from libs.common.log import envelope
from libs.common.log.envelope import Heard
from libs.common.store.schema import JournalEntry

DIRECTORY = Path(__file__).parent / "golden"


def types() -> list[str]:
    """The types that have a sample."""
    return sorted(file.name.removesuffix(".json") for file in DIRECTORY.glob("*.json"))


def sample(type_: str) -> dict[str, Any]:
    """The structured event of this type."""
    event: dict[str, Any] = orjson.loads((DIRECTORY / f"{type_}.json").read_bytes())
    return event


def journalled(heard: Heard) -> JournalEntry:
    """The journal entry from which its source said this event; the private part stayed at the source."""
    kind, _, id_ = heard.stream.partition("/")
    return JournalEntry(
        position=1,
        kind=kind,
        id=id_,
        seq=heard.seq,
        type=heard.type,
        public=heard.public(),
        private=b"",
        salt=b"",
        digest=heard.chain,
        recorded_at=heard.recorded_at,
        acted_on=heard.acted_on,
        correlation=heard.trace.correlation,
        causation=heard.attributes.get("causationid", ""),
        traceparent=heard.trace.traceparent,
    )


def heard(type_: str) -> Heard:
    """The sample as a consumer hears it."""
    return envelope.read_structured(sample(type_))
