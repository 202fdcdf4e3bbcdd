"""What a service counts, for Prometheus; each service has its own."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


class Metrics:
    """Counters of one service.

    Args:
        waiting: returns how many requests wait.
    """

    def __init__(self, waiting: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
            return Histogram(f"sceneleap_{name}", text, registry=self._registry, buckets=buckets)

        self.requests = Counter(
            "sceneleap_requests", "requests by path and status", ["path", "status"], registry=self._registry
        )
        self.grasps = Counter("sceneleap_grasps", "grasps answered", registry=self._registry)
        self.reloads = Counter("sceneleap_reloads", "models loaded", ["result"], registry=self._registry)
        self.seconds = histogram(
            "request_seconds", "from the first byte of a request for grasps to its answer"
        )
        self.waited = histogram("waited_seconds", "in the queue")
        self.sampled = histogram("sampling_seconds", "of a call of the model")
        self.batch = histogram("batch_requests", "requests of a call of the model", (1, 2, 4, 8, 16, 32))
        gauge = Gauge("sceneleap_waiting", "requests in the queue", registry=self._registry)
        gauge.set_function(waiting)

    def sampled_call(self, number: int, seconds: float) -> None:
        """Count a call of the model."""
        self.batch.observe(number)
        self.sampled.observe(seconds)

    def text(self) -> bytes:
        """Return all in Prometheus's text format."""
        return generate_latest(self._registry)
