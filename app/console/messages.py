"""Error messages for pages, in the reader's language."""

from collections.abc import Mapping

from flask import request
from flask_babel import gettext

from app.console.i18n import translate
from app.errors import BadRequest, DomainError, Forbidden, ValidationFailed
from app.http.csrf import SAFE

_MAX_NAME_CHARACTERS = 50


def errors_by_field(error: DomainError) -> Mapping[str, str]:
    """The messages of an error by field. `form` holds a message about the whole form."""
    messages: dict[str, list[str]] = {}
    for field_error in error.field_errors:
        messages.setdefault(field_error.field.partition(".")[0], []).append(translate(field_error.message))
    by_field = {field: "; ".join(texts) for field, texts in messages.items()}
    # The form may not show the field that is forbidden.
    needs_summary = not by_field or isinstance(error, Forbidden)
    return {**by_field, "form": translate(error.message)} if needs_summary else by_field


def summarize(error: DomainError) -> str:
    """One sentence about an error, for a page that does not show the fields of the request."""
    if not isinstance(error, ValidationFailed | BadRequest):
        return translate(error.message)
    form_messages = [
        translate(field_error.message) for field_error in error.field_errors if field_error.field == "form"
    ]
    if form_messages:
        return " ".join(form_messages)
    fields = [field_error.field[:_MAX_NAME_CHARACTERS].replace("'", "") for field_error in error.field_errors]
    names = ", ".join(dict.fromkeys(fields))
    if request.method in SAFE:
        if not names:
            return str(gettext("This address is not valid."))
        return str(gettext("This address has invalid parameters: '%(names)s'.", names=names))
    if not names:
        return bad_request_message()
    return str(gettext("This form has invalid fields: '%(names)s'.", names=names))


def bad_request_message() -> str:
    """The message for a request that the service cannot interpret."""
    return str(gettext("The service cannot process this request."))
