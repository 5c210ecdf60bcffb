"""Chapter: clues, with which a case begins — 行政处罚法 54."""
