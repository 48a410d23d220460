"""How the tables came to be what they are, step by step; Alembic runs what a database has not seen yet.

The names of the steps stand here, so that a database can be checked without loading Alembic.
"""

__all__ = ["HEAD", "REVISIONS"]

REVISIONS = ("0001", "0002")
HEAD = REVISIONS[-1]
