"""Programs for those who develop and run Liandong; the services do not need them."""
