"""Chapter: who must act by when — every running limit, its light, and what follows silence."""
