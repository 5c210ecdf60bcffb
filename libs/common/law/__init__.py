"""The law in tables and pure functions: citations, codes, calendars and limits; it reads nothing."""
