"""Client libraries and frameworks, as their users install them, against a running platform."""
