"""The stand-in of the person who clicks in the web pages and signs with a wallet."""
