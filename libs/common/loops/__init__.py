"""The loops that never end: the relay, the consumer, the filler, and what keeps them running."""
