"""The routes, one module a noun."""

from palladion.server.api import (
    accounts,
    challenges,
    files,
    health,
    leaderboards,
    organising,
    sessions,
    stages,
    submissions,
    teams,
    tokens,
    uploads,
    webhooks,
)

__all__ = ["ALL"]

ALL = (
    health.routes,
    sessions.routes,
    accounts.routes,
    tokens.routes,
    challenges.routes,
    stages.routes,
    files.routes,
    leaderboards.routes,
    teams.routes,
    uploads.routes,
    submissions.routes,
    webhooks.routes,
    organising.routes,
)
"""The routes of all modules, in the order of the documentation."""
