"""What can go wrong, in the words of the domain. No HTTP numbers live here."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One bad field: its dotted name and the rule that it breaks."""

    field: str
    message: str


class DomainError(Exception):
    """Anything that the service refuses or can't do, with a sentence for the client."""


class Malformed(DomainError):
    """The request can't be read at all: bad JSON, bad encoding, an unknown query parameter."""

    def __init__(self, detail: str, field: str | None = None) -> None:
        super().__init__(detail)
        self.faults = [Fault(field, detail)] if field else []


class Invalid(DomainError):
    """The request can be read but breaks rules; every broken rule is named."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(f"{fault.field}: {fault.message}" for fault in faults))
        self.faults = faults


class NotFound(DomainError):
    """There is no such thing, or it is in the trash."""


class Taken(DomainError):
    """Another user has this username or email. `owner`: the username of who wants it, where there are several."""

    def __init__(self, field: str, owner: str | None = None) -> None:
        super().__init__(f"Another user has the {field} of '{owner}'." if owner else f"Another user has this {field}.")
        self.faults = [Fault(field, "is taken by another user")]


class Conflict(DomainError):
    """The thing is in a state that does not allow this."""


class Stale(DomainError):
    """A precondition failed: somebody changed the thing since the client read it."""


class KeyReused(DomainError):
    """An Idempotency-Key came again with another request."""


class Unauthorized(DomainError):
    """There is no credential, or not a good one."""


@dataclass(frozen=True, slots=True)
class Quota:
    """How much of a limit is left: `amount` in each window of `window_s`, which begins anew in `reset_s`."""

    name: str
    amount: int
    window_s: int
    remaining: int
    reset_s: int


class TooMany(DomainError):
    """Too many requests of one kind. `is_new_lock`: the first that is refused to somebody's account."""

    def __init__(self, detail: str, quota: Quota, *, is_new_lock: bool = False) -> None:
        super().__init__(detail)
        self.quota, self.is_new_lock = quota, is_new_lock


class Forbidden(DomainError):
    """The caller may not do this, because of `faults` if there are any."""

    def __init__(self, detail: str, faults: Iterable[Fault] = ()) -> None:
        super().__init__(detail)
        self.faults = list(faults)


class PasswordRequired(Forbidden):
    """The caller may do this only with the current password, or soon after signing in."""

    def __init__(self) -> None:
        super().__init__(
            "To change how you sign in, give your current password, unless you signed in less than five minutes ago.",
            [Fault("current_password", "must be given to change your own username, email or password")],
        )


class Unavailable(DomainError):
    """Something that the service needs is away; trying again later helps."""

    def __init__(self, detail: str, retry_after_s: int = 1) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Busy(Unavailable):
    """Others hold what a change needs, for longer than it waits; nothing was changed."""


class SettingsError(DomainError):
    """The environment holds something that the service refuses to start with."""


class StartError(DomainError):
    """The service can't start: the database is out of reach or of a newer release."""
