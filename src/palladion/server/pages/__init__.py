"""The pages that people read, one module a page or two.

A page is a function that makes a :class:`~palladion.server.pages.frame.Document`: one model of
:mod:`palladion.server.models`, made by :class:`~palladion.server.views.Views`, which is shown as HTML, as JSON and as
CSV. What somebody does on a page is a POST that ends with :func:`~palladion.server.pages.frame.done`: it calls the very
function of :mod:`palladion.server.api` that a program would have called, and sends the browser on to a page.

Templates lie in ``templates/``, what browsers load besides in ``static/``, and every sentence in ``texts/``.
"""

from palladion.server.pages import (
    account,
    analysis,
    challenges,
    events,
    leaderboards,
    organising,
    sessions,
    static,
    submissions,
    team,
)

__all__ = ["PAGES"]

PAGES = (
    leaderboards.routes,
    static.routes,
    sessions.routes,
    account.routes,
    challenges.routes,
    team.routes,
    organising.routes,
    analysis.routes,
    submissions.routes,
    events.routes,
)
"""The routes of all pages, in the order in which they are looked through; no two of them have addresses in common."""
