"""Chapter: the joint picture by township and department, folded from the log and rebuilt from it."""
