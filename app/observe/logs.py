"""Structured logs to standard error: for people in a terminal, or one JSON object a line. Library logs go the
same way."""

import logging
import sys
from typing import Any

import structlog

from app.observe.log_level import set_level

LIBRARIES_QUIET = (
    "httpx",
    "httpcore",
    "httpx2",
    "httpcore2",
    "mcp",
    "sse_starlette",
    "urllib3",
    "botocore",
    "boto3",
    "filelock",
    "alembic.runtime",
    "celery.bootsteps",
)

# The default draws boxes with every local variable: secrets and inputs in the log, and a second of CPU for
# one traceback.
PLAIN = structlog.dev.plain_traceback


def configure(log_format: str, level: str) -> None:
    """Once, at the start of a process. `log_format` is console or json."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso" if log_format == "json" else "%Y-%m-%d %H:%M:%S"),
    ]
    structlog.configure(
        # By the standard library's levels, which can be changed while the process runs (log_level.py).
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        cache_logger_on_first_use=True,
    )
    end: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if log_format == "json"
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), pad_event_to=0, exception_formatter=PLAIN
            )
        ]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *end],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.root.handlers[:] = [handler]
    set_level(level)
    for name in LIBRARIES_QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("celery").setLevel(logging.WARNING)
