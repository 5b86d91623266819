"""Stop everything, and take it back; works without a kernel, a browser, or half of the platform."""
