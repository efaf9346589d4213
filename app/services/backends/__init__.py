"""Backends as administrators see them: registered, tried out, and what they serve as models."""
