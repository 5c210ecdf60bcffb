"""Our codec and the CloudEvents SDK agree on every event, in both modes and in both directions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson
import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings import kafka as binding
from cloudevents.core.formats.json import JSONFormat

from libs.common.log import envelope
from libs.common.log.seam import Partition, Record
from tests.contracts import golden

#: The SDK's own form of what we write.
KafkaMessage = binding.KafkaMessage


def attributes(event: BaseCloudEvent) -> dict[str, Any]:
    """The SDK's attributes, with its one parsed value as an instant."""
    return dict(event.get_attributes())


def expected(type_: str) -> dict[str, Any]:
    event = golden.sample(type_)
    del event["data"]
    return {**event, "time": datetime.fromisoformat(event["time"])}


@pytest.mark.parametrize("type_", golden.types())
def test_the_sdk_reads_our_binary_records(type_: str) -> None:
    sent = envelope.outgoing(golden.journalled(golden.heard(type_)))
    message = KafkaMessage(headers=dict(sent.headers), key=sent.key, value=sent.value)
    event = binding.from_binary(message, JSONFormat())
    assert attributes(event) == expected(type_)
    assert event.get_data() == golden.sample(type_)["data"]


@pytest.mark.parametrize("type_", golden.types())
def test_we_read_the_binary_records_of_the_sdk(type_: str) -> None:
    event = JSONFormat().read(None, orjson.dumps(golden.sample(type_)))
    message = binding.to_binary(event, JSONFormat())
    assert isinstance(message.key, str)
    headers = tuple(message.headers.items())
    heard = envelope.read(Record(Partition("topic", 0), 0, message.key.encode(), message.value, headers))
    assert orjson.loads(heard.public()) == orjson.loads(golden.heard(type_).public())
    assert heard.chain == golden.heard(type_).chain
    assert heard.trace == golden.heard(type_).trace


@pytest.mark.parametrize("type_", golden.types())
def test_the_sdk_reads_our_structured_events(type_: str) -> None:
    ours = envelope.structured(golden.journalled(golden.heard(type_)))
    event = JSONFormat().read(None, orjson.dumps(ours))
    assert attributes(event) == expected(type_)
    assert event.get_data() == golden.sample(type_)["data"]


@pytest.mark.parametrize("type_", golden.types())
def test_we_read_the_structured_events_of_the_sdk(type_: str) -> None:
    event = JSONFormat().read(None, orjson.dumps(golden.sample(type_)))
    heard = envelope.read_structured(orjson.loads(JSONFormat().write(event)))
    assert heard.public() == golden.heard(type_).public()
    assert heard.chain == golden.heard(type_).chain
