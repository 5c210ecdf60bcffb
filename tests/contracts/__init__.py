"""What others read: golden samples of every event, and the rule that within a version we only add."""
