"""Chapter: who is told of what — the route table, and what happens to an event that it cannot place."""
