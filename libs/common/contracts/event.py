"""The shape all events share, and the catalogue of those that exist."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

#: liandong.<root>.<past participle>.v<major>
_TYPE = re.compile(r"liandong\.([a-z_]+)\.([a-z_]+)\.v(\d+)")

#: Every event class by its type, filled as the classes are defined.
CATALOGUE: dict[str, type[Event]] = {}


class Event(BaseModel):
    """A past-tense fact, thin: ids, codes and dates, no personal data.

    A subclass with a TYPE is an event; its docstring's first line is the Chinese name. Readers ignore fields
    they do not know, so that a minor version adds and never breaks.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    TYPE: ClassVar[str]
    #: Which of the three services says it.
    SOURCE: ClassVar[str]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "TYPE" not in cls.__dict__:
            return
        if not _TYPE.fullmatch(cls.TYPE) or cls.TYPE in CATALOGUE:
            raise ValueError(f"event type {cls.TYPE!r} is malformed or defined twice")
        CATALOGUE[cls.TYPE] = cls
