"""Chapter: the clocks that run in the county, as `notify` told of them: who waits for whom."""
