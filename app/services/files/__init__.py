"""Uploaded files, and which of them an input may name."""
