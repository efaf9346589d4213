"""Names of Celery's tasks and of the Redis keys that several processes must agree on."""

KEY_PREFIX = "lovage:"  # of every Redis key that is ours, Celery's included
# Of the queues that predictions wait in, whose names come from devices: none of them can meet another key
# (the marker, Celery's bindings, the couriers' queue). Their lists are `lovage:q:` and the queue's name.
QUEUE_PREFIX = "q:"
TASK_PREDICT = "lovage.predict"
TASK_DELIVER = "lovage.deliver"
TASK_SWEEP = "lovage.sweep"


def celery_queue(queue: str) -> str:
    """What Celery calls a queue that predictions wait in."""
    return QUEUE_PREFIX + queue


def list_key(celery_queue: str) -> str:
    """The Redis list of one of Celery's queues."""
    return KEY_PREFIX + celery_queue


def queue_key(queue: str) -> str:
    """The Redis list of a queue that predictions wait in."""
    return list_key(celery_queue(queue))
