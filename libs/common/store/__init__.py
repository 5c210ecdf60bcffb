"""The store: where a Change is committed, in one place, atomically, on PostgreSQL or SQLite."""
