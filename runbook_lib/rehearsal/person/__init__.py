"""Stand in for the person who clicks in the web pages and signs with a wallet."""
