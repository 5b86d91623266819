"""Define commands and expectations as frozen values: what to send and what should come back; nothing is sent here."""
