"""What a submission is: looked at without running any of it."""

from palladion.submissions.submission import LEARNED_PARAMETERS, DataPointPaths, Kind, Submission, digest_of

__all__ = ["LEARNED_PARAMETERS", "DataPointPaths", "Kind", "Submission", "digest_of"]
