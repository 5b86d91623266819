"""Stop all trading, and undo a halt's switches; works without a kernel, a browser, or half of the platform."""
