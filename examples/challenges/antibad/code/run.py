"""Answers of restored models, for every output that the phase asks for: the code of a submission to a language track.

The published phase is all that it needs. The environment says where that is and where the outputs go, as
``palladion submission reproduce`` sets it; to make the outputs in the first place:

    PALLADION_PHASE=phases/development PALLADION_OUTPUTS=outputs python run.py vote
"""

import os
import subprocess
import sys
from pathlib import Path

import yaml


def main(method: str) -> None:
    phase, outputs = (Path(os.environ[f"PALLADION_{name}"]) for name in ("PHASE", "OUTPUTS"))
    outputs.mkdir(parents=True, exist_ok=True)
    track = yaml.safe_load((phase / "track.yaml").read_text())
    options = []
    if "generation" in track:
        options += ["--max-new-tokens", track["generation"]["max_new_tokens"]]
    if "classification" in track:
        options += ["--max-length", track["classification"]["max_length"]]
    for task in track["tasks"]:
        models = [phase / model for model in task["models"]]
        for output in task["outputs"]:
            command = [sys.executable, "-m", "palladion", "restore", *models, "--method", method, *options]
            command += ["--inputs", phase / output["inputs"], "--out", outputs / output["file"]]
            subprocess.run([str(word) for word in command], check=True)


if __name__ == "__main__":
    main(sys.argv[1])
