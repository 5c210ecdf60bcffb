"""Chapter: the moves of the ordinary procedure, from filing to closing — 行政处罚法 54 to 61."""
