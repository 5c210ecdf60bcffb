"""Real servers for the tests, all without Docker.

PostgreSQL comes from a wheel, Kafka from Maven, Prometheus from Debian.
"""
