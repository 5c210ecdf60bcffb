"""Chapter: the calendar of working days, and how long limits are — 行政处罚法 85, 行政强制法 69."""
