"""The train split as NIST's detectors expect a dataset: what is open and what is sealed of a model in one folder.

::

    <view>/METADATA.csv, METADATA_DICTIONARY.csv
    <view>/models/id-00000000/model.pt (or model/), clean-example-data/, ground_truth.csv, config.json, …

It is made of links, so it costs nothing. Only the train split has one: its labels are open.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from palladion.execution.sandbox.contract import Bind
from palladion.execution.staging import workspace
from palladion.models.round_directory import METADATA, METADATA_DICTIONARY, MODELS, OPEN, SEALED, SplitDirectory
from palladion.submissions import Submission

__all__ = ["DATASET", "make_train_view", "train_view"]

DATASET = "dataset"
"""Name of the bind that shows it."""


@contextlib.contextmanager
def train_view(submission: Submission, split: SplitDirectory, sandbox: str) -> Iterator[list[Bind]]:
    """The bind that shows the view, beside one named ``train`` of the split itself; none for Palladion's detectors.

    Args:
        submission: who is to see it.
        split: the train split.
        sandbox: name of the back end.

    Raises:
        InputError: the split has no models.
    """
    if submission.target is not None:
        yield []
        return
    with workspace(public=True) as folder:
        # Without a sandbox, the split is where it is.
        seen = PurePosixPath(split.path.resolve()) if sandbox == "none" else PurePosixPath("/train")
        make_train_view(split, folder, seen)
        yield [Bind(folder, DATASET, links=True)]


def make_train_view(split: SplitDirectory, view: Path, seen: PurePosixPath) -> None:
    """Lay out the view of a split.

    Args:
        split: the train split.
        view: an empty folder.
        seen: where whoever follows the links finds the split.

    Raises:
        InputError: the split has no models.
    """
    for name in (METADATA, METADATA_DICTIONARY):
        if (split.path / name).is_file():
            (view / name).symlink_to(seen / name)
    models = view / MODELS
    models.mkdir()
    for entry in split.models():
        folder = models / entry.name
        folder.mkdir()
        names: dict[str, str] = {}
        # NIST's config.json is the sealed one; the open one of that name is a reduced copy.
        for part, directory in ((OPEN, entry.open), (SEALED, entry.sealed)):
            if directory.is_dir():
                names |= {path.name: part for path in directory.iterdir()}
        for name, part in sorted(names.items()):
            (folder / name).symlink_to(seen / MODELS / entry.name / part / name)
