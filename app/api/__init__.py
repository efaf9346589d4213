"""How Lovage is reached over HTTP. An edge translates; it holds no SQL, no Celery and no decisions."""
