"""What must hold when the servers underneath are stopped, killed or lied to."""
