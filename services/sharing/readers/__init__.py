"""Chapter: those who follow the log, the forms in which they are given it, and how far they are."""
