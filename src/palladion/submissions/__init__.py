"""What a submission is: looked at without running any of it."""

from palladion.submissions.submission import DataPointPaths, Kind, Submission, digest_of

__all__ = ["DataPointPaths", "Kind", "Submission", "digest_of"]
