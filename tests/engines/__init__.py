"""Real servers for the tests: a PostgreSQL from a wheel, a Kafka from Maven, both without Docker."""
