"""Anthropic's Messages API over the models that are here."""
