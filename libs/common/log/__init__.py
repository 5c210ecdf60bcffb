"""The log: how facts leave one service and arrive, in order per stream, at the others."""
