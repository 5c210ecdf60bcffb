"""Chapter: assistance asked of another agency — 行政处罚法 26."""
