"""Processors are handed out to one at a time. What they do in a sandbox cannot be tried without one."""

import threading
from pathlib import Path

from palladion.execution.sandbox.gpus import GpuPool, gpu_devices


def test_each_is_one_data_points_at_a_time() -> None:
    pool = GpuPool(["a", "b", "c"])
    assert pool.take(2) == ["a", "b"]
    taken: list[list[str]] = []
    thread = threading.Thread(target=lambda: taken.append(pool.take(2)))
    thread.start()
    thread.join(timeout=0.1)
    assert thread.is_alive()
    pool.give_back(["a", "b"])
    thread.join(timeout=5)
    assert taken == [["c", "a"]]
    assert pool.take(1) == ["b"]


def test_closing_it_lets_those_go_that_wait() -> None:
    pool = GpuPool([])
    taken: list[list[str]] = []
    thread = threading.Thread(target=lambda: taken.append(pool.take(1)))
    thread.start()
    pool.close()
    thread.join(timeout=5)
    assert taken == [[]]


def test_only_device_files_count(tmp_path: Path) -> None:
    (tmp_path / "nvidia0").touch()
    assert gpu_devices(tmp_path) == ([], [])
