"""Names of Celery's tasks and of the Redis keys that several processes must agree on."""

KEY_PREFIX = "lovage:"  # of every Redis key that is ours, Celery's included
TASK_PREDICT = "lovage.predict"
TASK_DELIVER = "lovage.deliver"
TASK_SWEEP = "lovage.sweep"
