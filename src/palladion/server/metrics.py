"""What Prometheus asks for: requests by route, durations, and the queue."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from palladion import __version__
from palladion.storage import queue
from palladion.storage.tables import Job, Worker

if TYPE_CHECKING:
    from palladion.jobs.context import Service

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counts what the app does; one for each app, so that tests and processes do not share numbers.

    Attributes:
        running: requests that are being answered.
    """

    def __init__(self, service: "Service") -> None:
        self._registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._requests = Counter("palladion_requests", "Requests.", labels, registry=self._registry)
        self._seconds = Histogram(
            "palladion_request_seconds",
            "Seconds to answer a request.",
            labels[:2],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.running = Gauge("palladion_requests_running", "Requests being answered.", registry=self._registry)
        Gauge("palladion_info", "The version.", ("version",), registry=self._registry).labels(__version__).set(1)
        self._registry.register(_Queue(service))

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            method: GET, POST, ...; others must be told as one, for anybody can make methods up.
            route: template of its address; likewise.
            status: of the answer.
            seconds: that the answer took.
        """
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it.

        Raises:
            PalladionError: the database cannot be reached.
        """
        return generate_latest(self._registry)


class _Queue(Collector):
    """Asks the database when somebody looks, not before."""

    def __init__(self, service: "Service") -> None:
        self._service = service

    def describe(self) -> list[Metric]:
        """Nothing: the database need not be there before somebody looks."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The numbers of this moment."""
        now = self._service.now()
        with self._service.database.read() as tx:
            counts = queue.counts(tx)
            oldest = _oldest_due(tx, now)
            workers = _workers_seen(tx)
        jobs = GaugeMetricFamily("palladion_jobs", "Jobs.", labels=("kind", "state"))
        for (kind, state), number in sorted(counts.items()):
            jobs.add_metric((kind, state), number)
        yield jobs
        waiting = GaugeMetricFamily(
            "palladion_oldest_queued_seconds", "For how long the oldest job that is due has waited.", labels=("kind",)
        )
        for kind, due in oldest:
            waiting.add_metric((kind,), max(0.0, (now - due).total_seconds()))
        yield waiting
        seen = GaugeMetricFamily(
            "palladion_worker_seen_seconds", "Since when nothing was heard of a worker.", labels=("worker",)
        )
        for name, when in workers:
            seen.add_metric((name,), max(0.0, (now - when).total_seconds()))
        yield seen


def _oldest_due(tx: Session, now: datetime) -> list[tuple[str, datetime]]:
    rows = tx.execute(
        select(Job.kind, func.min(Job.due)).where(Job.state == "queued", Job.due <= now).group_by(Job.kind)
    )
    return sorted((kind, due) for kind, due in rows)


def _workers_seen(tx: Session) -> list[tuple[str, datetime]]:
    rows = tx.execute(select(Worker.name, Worker.seen).where(Worker.stopped.is_(None)).order_by(Worker.name))
    return [(name, seen) for name, seen in rows]
