"""Stand in for the platform's web app: pages, cron endpoints, Skills, wallets, deployments."""
