"""What is still being split or renamed: tolerated by `make measure`. Empty when that is done."""

# Paths that begin so may be over a bar of `sizes`.
SIZES: tuple[str, ...] = (
    "app/coalesce.py",
    "app/composition_worker.py",
    "app/db/circuit_breaker.py",
    "app/db/predictions.py",
    "app/services/predictions/after_commit.py",
    "app/services/predictions/disconnects.py",
    "app/services/predictions/follow.py",
    "app/services/predictions/lifecycle.py",
    "app/services/predictions/queue_position.py",
    "app/services/predictions/queue_rebalance.py",
    "app/services/predictions/recovery.py",
    "app/services/predictions/submit.py",
    "app/services/predictions/subscriptions.py",
    "app/worker",
)

# Paths that begin so may hold retired words.
WORDS: tuple[str, ...] = (
    "app/broker",
    "app/coalesce.py",
    "app/composition_worker.py",
    "app/db/autocommit.py",
    "app/db/circuit_breaker.py",
    "app/db/claims.py",
    "app/db/predictions.py",
    "app/db/session.py",
    "app/events",
    "app/redis_pipe.py",
    "app/services/predictions/after_commit.py",
    "app/services/predictions/disconnects.py",
    "app/services/predictions/follow.py",
    "app/services/predictions/lifecycle.py",
    "app/services/predictions/queue_position.py",
    "app/services/predictions/queue_rebalance.py",
    "app/services/predictions/recovery.py",
    "app/services/predictions/submit.py",
    "app/services/predictions/subscriptions.py",
    "app/worker",
)
