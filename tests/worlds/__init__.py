"""What several tests stand on: a county and its people, services of one test, histories, forgeries."""
