"""The errors of the domain. http.problems maps them to statuses."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Message:
    """A translatable message: a template and its values by name. `str()` formats it in English.

    The console translates the template, and the values that are messages themselves.
    """

    template: str
    values: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.template % self.values if self.values else self.template


def N_(template: str, /, **values: object) -> Message:  # noqa: N802 - the name that Babel looks for
    """A message for the catalogs of `make words`. template: a literal with `%(name)s` for each value."""
    return Message(template, values)


@dataclass(frozen=True, slots=True)
class FieldError:
    """A field that breaks a rule. field: its dotted name. message: the rule."""

    field: str
    message: Message


class DomainError(Exception):
    """A request that is refused or cannot be answered. message: for the client. field_errors: the bad fields."""

    def __init__(self, message: Message, field_errors: Iterable[FieldError] = ()) -> None:
        super().__init__(message)
        self.message, self.field_errors = message, list(field_errors)


class BadRequest(DomainError):
    """The request cannot be parsed: invalid JSON, invalid encoding, an unknown query parameter."""

    def __init__(self, message: Message, field: str | None = None) -> None:
        super().__init__(message, [FieldError(field, message)] if field else [])


class ValidationFailed(DomainError):
    """The request can be parsed, but fields break rules. field_errors: all of them."""

    def __init__(self, field_errors: list[FieldError]) -> None:
        super().__init__(N_("Some fields are invalid."), field_errors)

    def __str__(self) -> str:
        return "; ".join(f"{field_error.field}: {field_error.message}" for field_error in self.field_errors)


class NotFound(DomainError):
    """The resource does not exist, or is in the trash."""


class AlreadyTaken(DomainError):
    """Another user has this username or email. owner: the username of the user to restore, in a bulk action."""

    def __init__(self, field: str, owner: str | None = None) -> None:
        is_email = field == "email"
        if owner is None:
            message = N_("Another user has this email.") if is_email else N_("Another user has this username.")
        elif is_email:
            message = N_("Another user has the email of '%(owner)s'.", owner=owner)
        else:
            message = N_("Another user has the username of '%(owner)s'.", owner=owner)
        super().__init__(message, [FieldError(field, N_("is taken by another user"))])


class Conflict(DomainError):
    """The state of the resource does not allow the request."""


class VersionConflict(DomainError):
    """A precondition failed: the resource has changed since the client read it."""


class IdempotencyKeyReused(DomainError):
    """An Idempotency-Key was used for a different request."""


class Unauthorized(DomainError):
    """The credential is missing or invalid."""


@dataclass(frozen=True, slots=True)
class Quota:
    """The state of a rate limit: `remaining` of `amount` in a window of `window_s`, which ends in `reset_s`."""

    name: str
    amount: int
    window_s: int
    remaining: int
    reset_s: int


class RateLimited(DomainError):
    """A rate limit is exceeded. is_new_lock: the first refusal that locks an account."""

    def __init__(self, message: Message, quota: Quota, *, is_new_lock: bool = False) -> None:
        super().__init__(message)
        self.quota, self.is_new_lock = quota, is_new_lock


class Forbidden(DomainError):
    """The actor lacks the permission. field_errors: the fields that it may not change, if any."""


class PasswordRequired(Forbidden):
    """The change requires the current password, or a recent sign-in."""

    def __init__(self) -> None:
        super().__init__(
            N_(
                "To change your username, email or password, give your current password,"
                " unless you signed in less than five minutes ago."
            ),
            [FieldError("current_password", N_("is required to change your own username, email or password"))],
        )


class Unavailable(DomainError):
    """A service that the request depends on is unavailable. A later retry may succeed."""


class Busy(Unavailable):
    """A lock was not released in time. Nothing was changed."""


class OperatorError(DomainError):
    """A message for operators, in a log or a terminal. It is not translated."""

    def __init__(self, text: str) -> None:
        super().__init__(Message(text))


class SettingsError(OperatorError):
    """A setting is invalid, so the service does not start."""


class StartError(OperatorError):
    """The service cannot start: the database is unavailable or of a newer release, or no administrator exists."""
