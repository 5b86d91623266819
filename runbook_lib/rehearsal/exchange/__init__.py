"""The stand-in of Hyperliquid: accounts, agents, signatures, matching, and its HTTP and WebSocket API."""
