"""Chapter: disputes over whose a case is, up to the binding opinion — 行政处罚法 25."""
