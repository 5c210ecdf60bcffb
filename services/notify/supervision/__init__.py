"""Chapter: letters with clocks — 督办函, 行政执法监督意见书, 行政执法监督决定书."""
