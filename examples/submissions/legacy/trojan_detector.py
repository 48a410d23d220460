"""A detector in the shape of NIST's first rounds: one script, without subcommands or metaparameters.

It is called once a model, with no more options than it declares here. It answers the same for every model.
"""

import argparse
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model_filepath", type=Path, required=True)
    parser.add_argument("--result_filepath", type=Path, required=True)
    parser.add_argument("--scratch_dirpath", type=Path, required=True)
    parser.add_argument("--examples_dirpath", type=Path, required=True)
    options = parser.parse_args()
    options.result_filepath.write_text("0.5\n")


if __name__ == "__main__":
    main()
