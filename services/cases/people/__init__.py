"""Chapter: officers and their certificates — 行政处罚法 42."""
