"""Chapter: transfer from one holder to another — 行政处罚法 22 to 25."""
