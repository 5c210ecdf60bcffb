"""The demonstration: a county that does not exist, and the story that its agencies play over HTTP."""
