"""What both edges do when a head had moved on: decide again for a while, after a moment."""

from __future__ import annotations

import asyncio
import random

#: How long to decide again after conflicts, in seconds: then a command is Busy, and an event suspect.
PATIENCE = 5.0


async def jitter(attempt: int) -> None:
    """Wait a little, at random and each time longer, so that those who collided do not meet again."""
    await asyncio.sleep(random.uniform(0, min(0.002 * 2**attempt, 0.1)))
