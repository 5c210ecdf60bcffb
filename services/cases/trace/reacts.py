"""What the trace does when it hears that a notice was signed for."""

from __future__ import annotations

from collections.abc import Mapping

from libs.common.change import Change
from libs.common.clock import Moment
from libs.common.contracts.notify import NoticeReceived
from libs.common.edge import Reaction
from libs.common.log.envelope import Heard
from libs.common.store.reading import Known
from services.cases.trace import rules


def on_notice_received(known: Known, event: NoticeReceived, heard: Heard, at: Moment) -> Change:
    """Keep the signature where the timeline and the proof find it."""
    return rules.sign(event)


REACTIONS: Mapping[str, Reaction] = {NoticeReceived.TYPE: Reaction(on_notice_received)}
