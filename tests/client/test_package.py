import subprocess
import sys

import palladion.client
from tests.conftest import SOURCE


def test_what_is_offered_is_there() -> None:
    assert sorted(palladion.client.__all__) == palladion.client.__all__
    assert all(hasattr(palladion.client, name) for name in palladion.client.__all__)


def test_a_client_needs_neither_the_storage_nor_the_server() -> None:
    modules = "palladion.client, palladion.client.checking, palladion.client.tables, palladion.client.waiting"
    code = f"import sys, {modules}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=SOURCE
    ).stdout.split()
    assert "palladion.client.api" in loaded
    assert not {"sqlalchemy", "fastapi", "uvicorn", "palladion.storage", "palladion.server", "torch"} & set(loaded)
