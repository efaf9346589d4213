"""Celery: the application, the messages, where they go and how they get there. Knows no table and no
model."""
