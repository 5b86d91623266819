"""What is sent and what should come back, as frozen values; nothing here sends anything."""
