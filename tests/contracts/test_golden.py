"""Golden samples stay readable and are said again to the last byte."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from libs.common import change
from libs.common.contracts.event import CATALOGUE
from libs.common.law import codes
from libs.common.log import envelope
from libs.common.log.seam import Partition, Record
from tests.contracts import golden


def test_every_type_of_the_catalogue_has_a_sample_and_every_sample_a_type() -> None:
    assert golden.types() == sorted(CATALOGUE)


@pytest.mark.parametrize("type_", golden.types())
def test_the_data_of_a_sample_is_read_and_said_again_alike(type_: str) -> None:
    data = golden.sample(type_)["data"]
    understood = CATALOGUE[type_].model_validate(data)
    assert understood.model_dump(mode="json", exclude_none=True) == data


@pytest.mark.parametrize("type_", golden.types())
def test_a_sample_shows_every_field_that_its_type_has(type_: str) -> None:
    # A field that no sample shows could be renamed without anybody noticing here.
    assert set(golden.sample(type_)["data"]) == set(CATALOGUE[type_].model_fields)


@pytest.mark.parametrize("type_", golden.types())
def test_a_structured_event_is_encoded_again_identically(type_: str) -> None:
    assert envelope.structured(golden.journalled(golden.heard(type_))) == golden.sample(type_)


@pytest.mark.parametrize("type_", golden.types())
def test_a_binary_record_tells_what_the_structured_event_tells(type_: str) -> None:
    heard = golden.heard(type_)
    sent = envelope.outgoing(golden.journalled(heard))
    record = Record(Partition("topic", 0), 0, sent.key.encode(), sent.value, sent.headers)
    again = envelope.read(record)
    assert orjson.loads(again.value) == golden.sample(type_)["data"]
    assert again.public() == heard.public()
    assert {**again.attributes, "datacontenttype": "application/json"} == dict(heard.attributes)


@pytest.mark.parametrize("type_", golden.types())
def test_a_sample_is_what_its_contract_calls_itself(type_: str) -> None:
    event = golden.sample(type_)
    assert (event["type"], event["source"]) == (type_, CATALOGUE[type_].SOURCE)
    assert event["id"] == f"{event['subject']}/{event['sequence']}"


@pytest.mark.parametrize("type_", golden.types())
def test_an_event_is_far_smaller_than_what_may_travel(type_: str) -> None:
    sent = envelope.outgoing(golden.journalled(golden.heard(type_)))
    size = len(sent.value) + sum(len(name) + len(value) for name, value in sent.headers)
    assert size < change.LARGEST / 16


def test_a_field_that_a_newer_minor_version_adds_is_ignored() -> None:
    sample = golden.sample("liandong.transfer.accepted.v1")
    newer = {**sample, "data": {**sample["data"], "added_later": 1}}
    heard = envelope.read_structured(newer)
    event = CATALOGUE[heard.type].model_validate(orjson.loads(heard.value))
    assert event.model_dump(mode="json") == sample["data"]
    # The chain covers what was said, not what we understand of it.
    assert b"added_later" in heard.public()


def test_data_too_deep_to_be_written_is_unreadable() -> None:
    """A journal's answer comes from another service: no text of theirs may end the filler."""
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(envelope.Unreadable):
        envelope.read_structured({**golden.sample("liandong.transfer.accepted.v1"), "data": deep})
    while isinstance(deep, list):  # taken apart by hand: the interpreter would recurse
        deep = deep.pop()


def test_samples_name_agencies_by_codes_that_are_well_formed() -> None:
    named = {
        value
        for type_ in golden.types()
        for field, value in golden.sample(type_)["data"].items()
        if field in ("agency", "department", "holder", "in_name_of", "from_agency", "to_agency")
    }
    assert all(map(codes.is_uscc, named))
