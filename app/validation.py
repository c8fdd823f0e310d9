"""Messages of validation errors, of our rules and of libraries. Only listed messages are translated."""

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.errors import N_, FieldError, Message

_ONE_CHARACTER = N_("string should have at least 1 character")
_PYDANTIC = {
    "bool_type": N_("input should be a valid boolean"),
    "datetime_from_date_parsing": N_("input should be a valid datetime or date, %(error)s"),
    "datetime_parsing": N_("input should be a valid datetime, %(error)s"),
    "dict_type": N_("input should be a valid dictionary"),
    "extra_forbidden": N_("is not a known field"),
    "finite_number": N_("input should be a finite number"),
    "greater_than_equal": N_("input should be greater than or equal to %(ge)s"),
    "int_from_float": N_("input should be a valid integer, got a number with a fractional part"),
    "int_parsing": N_("input should be a valid integer, unable to parse string as an integer"),
    "int_type": N_("input should be a valid integer"),
    "less_than_equal": N_("input should be less than or equal to %(le)s"),
    "literal_error": N_("input should be %(expected)s"),
    "missing": N_("field required"),
    "string_too_long": N_("string should have at most %(max_length)s characters"),
    "string_too_short": N_("string should have at least %(min_length)s characters"),
    "string_type": N_("input should be a valid string"),
    "string_unicode": N_("input should be a valid string, unable to parse raw data as a unicode string"),
    "uuid_parsing": N_("input should be a valid UUID, %(error)s"),
    "uuid_type": N_("input should be a string, bytes or UUID object"),
}
"""Messages by the type of the error. The names of values are those in the `ctx` of the error."""
_TEXTS = (
    # json
    N_("Expecting value"),
    N_("Expecting ',' delimiter"),
    N_("Expecting ':' delimiter"),
    N_("Expecting property name enclosed in double quotes"),
    N_("Extra data"),
    N_("Illegal trailing comma before end of array"),
    N_("Illegal trailing comma before end of object"),
    N_("Invalid \\escape"),
    N_("Invalid \\uXXXX escape"),
    N_("Invalid control character"),
    N_("Unexpected UTF-8 BOM (decode using utf-8-sig)"),
    N_("Unterminated string starting"),
    # email-validator
    N_("A bracketed IP address after the @-sign is not allowed here."),
    N_("An email address cannot end with a period."),
    N_("An email address cannot have a hyphen immediately after the @-sign."),
    N_("An email address cannot have a period and a hyphen next to each other."),
    N_("An email address cannot have a period immediately after the @-sign."),
    N_("An email address cannot have a period immediately before the @-sign."),
    N_("An email address cannot have two periods in a row."),
    N_("An email address cannot start with a period."),
    N_("An email address must have an @-sign."),
    N_("The part after the @-sign is not valid. It should have a period."),
    N_("There must be something after the @-sign."),
    N_("There must be something before the @-sign."),
)
"""Messages of libraries whose errors have only a text, which is the template."""


class RuleError(ValueError):
    """A value breaks a rule of ours. Validators of pydantic raise it."""

    def __init__(self, message: Message) -> None:
        super().__init__(message)
        self.message = message


def field_errors_of(error: ValidationError) -> list[FieldError]:
    """The errors of all fields, with messages that can be translated."""
    return [
        FieldError(".".join(map(str, field_error["loc"])) or "body", _message_of(field_error))
        for field_error in error.errors(include_url=False, include_input=False)
    ]


def library_text(text: str) -> Message:
    """The message for a text of json or email-validator."""
    return Message(text)


def _message_of(error: ErrorDetails) -> Message:
    """The message of an item of `ValidationError.errors()`."""
    kind, values = error["type"], error.get("ctx", {})
    if kind == "value_error":
        message: Message = values["error"].message
        return message
    if kind == "string_too_short" and values["min_length"] == 1:
        return _ONE_CHARACTER
    if kind == "literal_error":
        values = {"expected": _alternatives(values["expected"])}
    if kind in _PYDANTIC:
        return Message(_PYDANTIC[kind].template, values)
    return Message(error["msg"][:1].lower() + error["msg"][1:])


def _alternatives(expected: str) -> Message:
    """The message for `expected` of pydantic, such as `'a', 'b' or 'c'`."""
    others, _, last = expected.rpartition(" or ")
    return N_("%(others)s or %(last)s", others=others, last=last) if others else Message(last)
