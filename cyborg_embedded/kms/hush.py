"""Keeps the debug log of boto3 silent while it carries a key.

At level DEBUG boto3, botocore and urllib3 write whole requests and answers, index keys and all.
Where an application has turned that on for purposes of its own, what the calling thread does inside
`hushed` is left out; all other threads, and records above DEBUG, go on as they were.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["hushed"]

LOUD = ("boto3", "botocore", "s3transfer", "urllib3")


class Hush(logging.Filter):
    """Drops debug records of threads that are inside `hushed`."""

    def __init__(self) -> None:
        super().__init__()
        self.threads = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record goes on."""
        return record.levelno > logging.DEBUG or not getattr(self.threads, "inside", False)


HUSH = Hush()


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """A with block in which this thread writes nothing to the debug log of boto3."""
    # A filter is asked by the logger that it is on alone, not by those below it.
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if name.partition(".")[0] in LOUD and isinstance(logger, logging.Logger):
            logger.addFilter(HUSH)  # once: adding it again does nothing
    HUSH.threads.inside = True
    try:
        yield
    finally:
        HUSH.threads.inside = False
