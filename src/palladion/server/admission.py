"""Who may have an account, and whose team takes part at once.

An account is one of the service, and a challenge says who may take part in it. Where ``service.yaml`` says nothing, an
account is as easy to have as the most open challenge is to take part in; a team of a stricter challenge then waits for
an organiser, unless the account was approved by hand or, for a challenge that is open to some domains, its owner has
confirmed an address of one of them.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Literal

from sqlalchemy.orm import Session

from palladion.server import queries
from palladion.server.settings import Settings
from palladion.storage import challenges
from palladion.storage.tables import Account, Challenge

if TYPE_CHECKING:
    from palladion.jobs.context import Service

__all__ = ["admitted", "in_domains", "sign_up_policy"]

Approval = Literal["open", "manual", "domain", "closed"]


def sign_up_policy(settings: Settings, service: "Service", tx: Session) -> tuple[Approval, frozenset[str]]:
    """How accounts are made, and the domains whose addresses are enough."""
    chosen = settings.sign_up
    if chosen.approval != "challenges":
        return chosen.approval, frozenset(chosen.domains)
    rules = [service.definition(row).registration for row in challenges.listing(tx)]
    if any(rule.approval == "open" for rule in rules):
        return "open", frozenset()
    domains = frozenset(domain for rule in rules for domain in rule.domains)
    # Without a challenge there is nothing that anybody could take part in.
    return ("domain", domains) if domains else ("manual", frozenset())


def admitted(service: "Service", tx: Session, account: Account, challenge: Challenge) -> bool:
    """Whether the account may take part in a challenge without an organiser's looking at it."""
    rule = service.definition(challenge).registration
    if rule.approval == "open" or queries.approved_by_hand(tx, account.id):
        return True
    return rule.approval == "domain" and in_domains(queries.confirmed_address(tx, account), rule.domains)


def in_domains(address: str | None, domains: Collection[str]) -> bool:
    """Whether an address is of one of these domains; a subdomain is another one."""
    return address is not None and address.rpartition("@")[2] in domains
