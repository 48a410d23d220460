"""Palladion: trojan-detection and backdoor-mitigation challenges, end to end.

Importing this package loads neither torch nor anything that needs a network. The rooms:

- :mod:`palladion.scoring`: every metric, interval and sweep, as pure functions of arrays
- :mod:`palladion.models`: rounds and model directories as they lie on disk
- :mod:`palladion.detectors`: the detector contract and the reference detectors
- :mod:`palladion.rounds`: building rounds of clean and poisoned models
- :mod:`palladion.submissions`, :mod:`palladion.execution`: what a submission is, and running one
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
