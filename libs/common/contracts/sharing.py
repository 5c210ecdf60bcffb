"""What `sharing` says."""

from __future__ import annotations

from typing import ClassVar

from libs.common.contracts.event import Event

SOURCE = "/services/sharing"


class PictureRebuilt(Event):
    """协同态势重建: the joint picture was built anew from the log and put in place."""

    TYPE: ClassVar[str] = "liandong.picture.rebuilt.v1"
    SOURCE: ClassVar[str] = SOURCE
    generation: int
    position: int  #: the newest log position that the new generation covers
