"""What can go wrong, in the words of the domain. No HTTP numbers live here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Message:
    """A sentence: a template, which translators see, and its values by name. `str()` gives it in English.

    The console translates the template and those values that are messages themselves.
    """

    template: str
    values: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.template % self.values if self.values else self.template


def N_(template: str, /, **values: object) -> Message:  # noqa: N802 - the name that Babel looks for
    """A sentence that `make words` finds. `template`: a literal, with `%(name)s` for each value."""
    return Message(template, values)


@dataclass(frozen=True, slots=True)
class FieldError:
    """One bad field: its dotted name and the rule that it breaks."""

    field: str
    message: Message


class DomainError(Exception):
    """Anything that the service refuses or can't do, with a sentence for the client."""

    def __init__(self, message: Message) -> None:
        super().__init__(message)
        self.message = message


class BadRequest(DomainError):
    """The request can't be read at all: bad JSON, bad encoding, an unknown query parameter."""

    def __init__(self, message: Message, field: str | None = None) -> None:
        super().__init__(message)
        self.field_errors = [FieldError(field, message)] if field else []


class ValidationFailed(DomainError):
    """The request can be read but breaks rules; every broken rule is named."""

    def __init__(self, field_errors: list[FieldError]) -> None:
        super().__init__(N_("Some fields are not right."))
        self.field_errors = field_errors

    def __str__(self) -> str:
        return "; ".join(f"{field_error.field}: {field_error.message}" for field_error in self.field_errors)


class NotFound(DomainError):
    """There is no such thing, or it is in the trash."""


class AlreadyTaken(DomainError):
    """Another user has this username or email. `owner`: the username of who wants it, where there are several."""

    def __init__(self, field: str, owner: str | None = None) -> None:
        super().__init__(_taken(field, owner))
        self.field_errors = [FieldError(field, N_("is taken by another user"))]


class Conflict(DomainError):
    """The thing is in a state that does not allow this."""


class VersionConflict(DomainError):
    """A precondition failed: somebody changed the thing since the client read it."""


class IdempotencyKeyReused(DomainError):
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


class RateLimited(DomainError):
    """Too many requests of one kind. `is_new_lock`: the first that is refused to somebody's account."""

    def __init__(self, message: Message, quota: Quota, *, is_new_lock: bool = False) -> None:
        super().__init__(message)
        self.quota, self.is_new_lock = quota, is_new_lock


class Forbidden(DomainError):
    """The caller may not do this, because of `faults` if there are any."""

    def __init__(self, message: Message, field_errors: Iterable[FieldError] = ()) -> None:
        super().__init__(message)
        self.field_errors = list(field_errors)


class PasswordRequired(Forbidden):
    """The caller may do this only with the current password, or soon after signing in."""

    def __init__(self) -> None:
        super().__init__(
            N_(
                "To change how you sign in, give your current password,"
                " unless you signed in less than five minutes ago."
            ),
            [FieldError("current_password", N_("must be given to change your own username, email or password"))],
        )


class Unavailable(DomainError):
    """Something that the service needs is away; trying again later helps."""

    def __init__(self, message: Message, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Busy(Unavailable):
    """Others hold what a change needs, for longer than it waits; nothing was changed."""


class OperatorError(DomainError):
    """What only operators read, in a log or a terminal: English, and not for translators."""

    def __init__(self, text: str) -> None:
        super().__init__(Message(text))


class SettingsError(OperatorError):
    """The environment holds something that the service refuses to start with."""


class StartError(OperatorError):
    """The service can't start: the database is out of reach or of a newer release."""


def _taken(field: str, owner: str | None) -> Message:
    if field == "email":
        return (
            N_("Another user has the email of '%(owner)s'.", owner=owner)
            if owner
            else N_("Another user has this email.")
        )
    if owner:
        return N_("Another user has the username of '%(owner)s'.", owner=owner)
    return N_("Another user has this username.")
