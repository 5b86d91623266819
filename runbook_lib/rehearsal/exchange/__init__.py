"""Stand in for Hyperliquid: accounts, agents, signatures, matching, and its HTTP and WebSocket API."""
