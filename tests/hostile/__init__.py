"""Input that means harm: bytes, values, places and journeys that nobody honest would send."""
