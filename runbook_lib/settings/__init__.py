"""Load one profile: where commands go, and the secrets that no output may show."""
