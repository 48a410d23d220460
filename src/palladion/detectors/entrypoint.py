"""Run a detector class under NIST's contract.

::

    python -m palladion.detectors.entrypoint --detector TARGET [infer] --model_filepath … --result_filepath …
    python -m palladion.detectors.entrypoint --detector TARGET configure --configure_models_dirpath … …

The arguments are those of NIST's example detectors, with and without the word ``infer``. Of ``metaparameters.json``,
the keys that are arguments of the class's constructor are used; NIST's informational ones are not.
"""

import argparse
import inspect
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from palladion.detectors.contract import Detector
from palladion.detectors.registry import load_detector
from palladion.detectors.train_split import TrainSplit
from palladion.errors import InputError, PalladionError
from palladion.files import write_atomically

__all__ = ["main", "metaparameters"]

_MODES = ("infer", "configure", "describe")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one mode of one detector; the exit code."""
    options = _options(sys.argv[1:] if arguments is None else arguments)
    try:
        detector_class = load_detector(options.detector)
        detector = detector_class(**metaparameters(detector_class, options.metaparameters_filepath))
        _RUN[options.mode](detector, options)
    except PalladionError as error:
        print(f"{options.detector}: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


def metaparameters(detector_class: type[Detector], path: Path | None) -> dict[str, Any]:
    """The constructor's arguments that stand in the file; none where there is no file.

    Raises:
        InputError: the file is not a JSON object.
    """
    if path is None or not path.exists():
        return {}
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot be read as JSON: {error}", path=path) from None
    if not isinstance(values, dict):
        raise InputError("must hold one value a name", path=path)
    known = inspect.signature(detector_class).parameters
    return {name: value for name, value in values.items() if name in known}


def _infer(detector: Detector, options: argparse.Namespace) -> None:
    if detector.configurable:
        if options.learned_parameters_dirpath is None:
            raise InputError("this detector must be configured first; name --learned_parameters_dirpath")
        detector.load(options.learned_parameters_dirpath)
    probability = float(detector.probability(options.model_filepath, options.examples_dirpath))
    write_atomically(options.result_filepath, f"{probability!r}\n")


def _configure(detector: Detector, options: argparse.Namespace) -> None:
    scratch = options.scratch_dirpath
    scratch.mkdir(parents=True, exist_ok=True)
    detector.configure(TrainSplit(options.configure_models_dirpath, scratch, options.jobs))
    detector.save(options.learned_parameters_dirpath)


def _describe(detector: Detector, options: argparse.Namespace) -> None:
    write_atomically(options.result_filepath, json.dumps({"configurable": detector.configurable}) + "\n")


_RUN = {"infer": _infer, "configure": _configure, "describe": _describe}


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m palladion.detectors.entrypoint", allow_abbrev=False)
    parser.add_argument("--detector", required=True, metavar="TARGET", help="package.module:Class or detector.py")
    first, rest = parser.parse_known_args(arguments[:2])
    words = [*rest, *arguments[2:]]
    # NIST's older rounds call without the word.
    mode = words.pop(0) if words and words[0] in _MODES else "infer"

    parser = argparse.ArgumentParser(prog=f"{parser.prog} {mode}", allow_abbrev=False)
    parser.add_argument("--metaparameters_filepath", type=Path)
    if mode != "configure":
        parser.add_argument("--result_filepath", type=Path, required=True)
    if mode != "describe":
        parser.add_argument("--scratch_dirpath", type=Path, required=True)
        parser.add_argument("--schema_filepath", type=Path)
        parser.add_argument("--learned_parameters_dirpath", type=Path, required=mode == "configure")
    if mode == "infer":
        parser.add_argument("--model_filepath", type=Path, required=True)
        parser.add_argument("--examples_dirpath", type=Path)
        parser.add_argument("--round_training_dataset_dirpath", type=Path)
        parser.add_argument("--source_dataset_dirpath", type=Path)
    if mode == "configure":
        parser.add_argument("--configure_models_dirpath", type=Path, required=True)
        parser.add_argument("--automatic_configuration", action="store_true")
        parser.add_argument("--jobs", type=int, default=1, help="models to learn from at a time")
    return parser.parse_args(words, argparse.Namespace(detector=first.detector, mode=mode))


if __name__ == "__main__":
    sys.exit(main())
