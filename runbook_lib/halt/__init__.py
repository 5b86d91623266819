"""Stop all trading, even if half of the platform does not answer. Later, restore the switches that the halt set."""
