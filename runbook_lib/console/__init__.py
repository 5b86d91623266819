"""Show every deployment on one page, with the buttons that command the deployments."""
