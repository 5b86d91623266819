"""Define commands and expectations as frozen values: what to send, and what should come back. Nothing is sent here."""
