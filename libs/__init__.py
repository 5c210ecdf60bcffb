"""Code shared by the services; it knows none of them."""
