"""The common core: Change, the two edges, store, log, contracts, law and web plumbing."""
