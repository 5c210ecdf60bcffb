"""Chapter: the board: the joint picture on a wall and on a phone, for people, and the door to it."""
