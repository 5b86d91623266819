"""Load one profile: the addresses that commands go to, and the secrets that no output may show."""
