"""Send commands and return plain rows, hold the writing lock, and prove that a profile's services can be reached."""
