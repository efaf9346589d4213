"""The services about people, as a process has them: they share what is known of credentials."""

from dataclasses import dataclass

from app.services.people.access import Access
from app.services.people.accounts import Accounts
from app.services.people.administration import UserAdministration
from app.services.people.api_keys import ApiKeys
from app.services.people.audit import Audit
from app.services.people.credentials import Credentials
from app.services.people.sessions import Sessions
from app.services.people.worker_tokens import GrantSigner


@dataclass(frozen=True, slots=True)
class People:
    """Who calls, who has an account, and what both have done."""

    access: Access
    accounts: Accounts
    credentials: Credentials
    administration: UserAdministration
    keys: ApiKeys
    audit: Audit
    sessions: Sessions
    grants: GrantSigner
