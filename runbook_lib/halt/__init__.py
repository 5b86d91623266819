"""Stop everything, and undo that; works without a kernel, a browser, or half of the platform."""
