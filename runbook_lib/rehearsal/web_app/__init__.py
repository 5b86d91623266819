"""The stand-in of the platform's web app: pages, cron endpoints, Skills, wallets, deployments."""
