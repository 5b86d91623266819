"""Show every live deployment on one page, with the buttons that command the deployments."""
