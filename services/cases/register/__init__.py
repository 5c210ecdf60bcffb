"""Chapter: agencies, powers, grants and competence — 行政处罚法 17, 20, 23, 24, 38."""
