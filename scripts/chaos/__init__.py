"""Breaks a running platform on purpose, under load, and counts what was lost."""
