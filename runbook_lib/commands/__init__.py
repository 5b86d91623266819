"""Commands and expectations as frozen values: what to send and what should come back; nothing here sends anything."""
