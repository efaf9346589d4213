"""Outgoing requests: the guarded client, and signing and sending a webhook. Knows no table and no
prediction."""
