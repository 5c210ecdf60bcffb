"""Chapter: the one log, what each agency may see of it, and the feeds that readers follow."""
