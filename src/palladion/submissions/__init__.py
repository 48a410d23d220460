"""What a submission is: looked at without running any of it."""

from palladion.submissions.archive import opened, unpack
from palladion.submissions.families import DEFAULT_FAMILY, FAMILIES, Family, family
from palladion.submissions.manifest import Manifest, parse_size
from palladion.submissions.submission import (
    LEARNED_PARAMETERS,
    DataPointPaths,
    Kind,
    Place,
    Submission,
    digest_of,
)

__all__ = [
    "DEFAULT_FAMILY",
    "FAMILIES",
    "LEARNED_PARAMETERS",
    "DataPointPaths",
    "Family",
    "Kind",
    "Manifest",
    "Place",
    "Submission",
    "digest_of",
    "family",
    "opened",
    "parse_size",
    "unpack",
]
