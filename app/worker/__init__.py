"""A worker: a Celery worker whose tasks claim predictions, run them on the engine, and record their ends. One
per accelerator."""
