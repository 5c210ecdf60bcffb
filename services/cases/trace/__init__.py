"""Chapter: what was done, in order, and its proof — 行政处罚法 47."""
