"""Speed as a ratio: each path of the product beside its limit or a peer, in the same run on the same machine.

Absolute figures drift with the machine; only the ratio of two neighbours holds. `python -m benchmarks` runs
them in pairs, ours and the peer's in turn, checks that what ran fast also ran right, and prints one table.
"""
