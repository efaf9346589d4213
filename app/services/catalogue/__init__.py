"""Models, their versions and deployments: registered, described, found, and what a caller may run."""
