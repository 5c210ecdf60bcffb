"""Chapter: what follows silence, level by level."""
