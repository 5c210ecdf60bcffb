"""The services as their users see them."""
