"""A worker in a process of its own, to be killed. Its arguments: database, folder, name."""

import logging
import sys
from datetime import timedelta
from pathlib import Path

from palladion.jobs.worker import Worker
from palladion.storage.database import Database
from tests.jobs.world import Clock, make_service

LEASE = {"lease": timedelta(seconds=2), "heartbeat": timedelta(seconds=0.5)}


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    url, folder, name = sys.argv[1:]
    service = make_service(Database(url), Path(folder), Clock(None), **LEASE)
    worker = Worker(service, name=name)
    worker.start()
    print("started", flush=True)
    worker.join()
