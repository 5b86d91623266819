"""The stand-in of Vercel: one project, its variables, deployments and logs."""
