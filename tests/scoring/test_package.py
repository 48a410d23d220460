import subprocess
import sys

from palladion import scoring


def test_every_public_name_is_there_and_documented() -> None:
    for name in scoring.__all__:
        value = getattr(scoring, name)
        assert isinstance(value, int | float) or value.__doc__


def test_importing_it_loads_nothing_heavier_than_numpy() -> None:
    code = "import sys, palladion.scoring; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "numpy" in loaded
    assert not {"pandas", "scipy", "sklearn", "torch", "matplotlib", "pydantic"} & set(loaded)
