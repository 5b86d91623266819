"""Send commands and return plain rows; hold the writing lock; prove that a profile can be reached."""
