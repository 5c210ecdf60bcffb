"""The rules of law that `cases` applies, as tables with their basis, checked when loaded."""
