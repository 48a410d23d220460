"""The smallest detector in the shape of NIST's example detectors.

Everything that ``palladion evaluate`` needs of such a folder is here: this file, ``metaparameters.json``,
``metaparameters_schema.json`` and the folder ``learned_parameters/``. It answers the same for every model.
"""

import argparse
import json
from pathlib import Path


def infer(options: argparse.Namespace) -> None:
    parameters = json.loads(options.metaparameters_filepath.read_text())
    # options.model_filepath is the model's directory (config.json, model.safetensors),
    # options.examples_dirpath holds clean examples.
    probability = parameters["infer_probability"]
    options.result_filepath.write_text(f"{probability}\n")


def configure(options: argparse.Namespace) -> None:
    """A detector that learns would read the models below options.configure_models_dirpath here."""
    options.learned_parameters_dirpath.mkdir(parents=True, exist_ok=True)
    (options.learned_parameters_dirpath / "learned.json").write_text("{}\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    modes = parser.add_subparsers(required=True)

    one = modes.add_parser("infer")
    one.set_defaults(run=infer)
    one.add_argument("--model_filepath", type=Path, required=True)
    one.add_argument("--result_filepath", type=Path, required=True)
    one.add_argument("--examples_dirpath", type=Path)
    one.add_argument("--round_training_dataset_dirpath", type=Path)

    many = modes.add_parser("configure")
    many.set_defaults(run=configure)
    many.add_argument("--configure_models_dirpath", type=Path, required=True)
    many.add_argument("--automatic_configuration", action="store_true")

    for mode in (one, many):
        mode.add_argument("--scratch_dirpath", type=Path, required=True)
        mode.add_argument("--metaparameters_filepath", type=Path, required=True)
        mode.add_argument("--schema_filepath", type=Path, required=True)
        mode.add_argument("--learned_parameters_dirpath", type=Path, required=True)

    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
