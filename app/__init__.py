"""Lovage: a prediction platform for machine-learning models on Celery."""

__version__ = "0.1.0"
