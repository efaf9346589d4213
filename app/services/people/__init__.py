"""Accounts, API keys, tokens, rate limits, and the audit log."""
