"""Chapter: the inbox of each agency — notices, and 签收 with a receipt that verifies offline."""
