"""A service's log: one JSON object per line, on the error stream."""

import json
import logging
import sys
import time
from typing import TextIO

_LOG = logging.getLogger("sceneleapultra.serving")


class JsonLines(logging.Formatter):
    """Writes a record with the fields that came with it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {"time": f"{at}.{int(record.msecs):03d}Z", "level": record.levelname.lower()}
        line |= {"event": record.getMessage(), **getattr(record, "fields", {})}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log(event: str, level: int = logging.INFO, **fields: object) -> None:
    """Write an event with its fields."""
    _LOG.log(level, event, extra={"fields": fields})


def log_to(stream: TextIO = sys.stderr) -> None:
    """Send all log lines of this process to a stream."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.captureWarnings(True)
