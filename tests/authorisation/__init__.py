"""Who may do what, through every way in and out, for every agency and role of the demonstration county."""
