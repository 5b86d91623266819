"""Load one profile: the addresses to which commands go, and the secrets that no output may show."""
