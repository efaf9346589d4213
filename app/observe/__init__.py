"""Seeing what the platform does: logs. Knows nothing of what is logged."""
