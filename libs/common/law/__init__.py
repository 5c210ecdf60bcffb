"""The law in tables and pure functions: citations and codes; it reads nothing."""
