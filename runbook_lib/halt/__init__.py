"""Stop all trading, even if half of the platform does not answer. Later, restore the two switches that a halt sets."""
