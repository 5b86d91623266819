"""Stand in for Vercel: one project, its variables, deployments and logs."""
