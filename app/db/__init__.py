"""Postgres: tables, sessions, and queries by noun. Knows no HTTP, no queue and no model; commits nothing by
itself."""
