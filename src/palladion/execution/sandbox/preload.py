"""Which modules a fork server imports beforehand."""

from collections.abc import Iterable

__all__ = ["worth_importing"]

# Libraries that take long to import, that run nothing of their own when they are, and that forks may share. The names
# come from a submission's source, so anything else is left to the submission itself.
_LIBRARIES = frozenset(
    {
        "PIL",
        "captum",
        "cv2",
        "datasets",
        "jsonpickle",
        "jsonschema",
        "lightgbm",
        "matplotlib",
        "networkx",
        "numpy",
        "palladion",
        "pandas",
        "peft",
        "safetensors",
        "scipy",
        "skimage",
        "sklearn",
        "skops",
        "statsmodels",
        "timm",
        "tokenizers",
        "torch",
        "torchmetrics",
        "torchvision",
        "transformers",
        "xgboost",
    }
)
_DRAWS = frozenset({"numpy", "scipy", "sklearn", "torch"})
# They run as __main__, and Python warns of modules that are there already when they do.
_PROGRAMS = (".__main__", "palladion.detectors.entrypoint")
_MAXIMUM = 200


def worth_importing(modules: Iterable[str]) -> tuple[str, ...]:
    """Those among the modules that a submission imports that are worth importing once for all data points."""
    found = [name for name in modules if name.partition(".")[0] in _LIBRARIES and not name.endswith(_PROGRAMS)]
    if any(name.partition(".")[0] in _DRAWS for name in found):
        found.append("numpy.random")  # NumPy itself imports it late
    return tuple(sorted(set(found))[:_MAXIMUM])
