"""The published language: every event, defined once, versioned in its type, additive only."""
