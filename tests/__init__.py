"""Tests, by tier: docs/architecture.md says what each touches and answers."""
