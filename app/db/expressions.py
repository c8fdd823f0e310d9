"""SQL expressions that several modules use."""

import uuid
from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Text, any_, bindparam
from sqlalchemy.dialects.postgresql import ARRAY

MARK_INTERNAL_CHANGE = "mark_internal_change()"
"""SQL that marks its transaction: the service writes its history itself, and the triggers don't."""


def is_any_of(column: ColumnElement[Any], values: Iterable[uuid.UUID] | Iterable[str]) -> ColumnElement[bool]:
    """SQL: `column` = ANY(`values`), which are one parameter."""
    # An array has no collation. PostgreSQL uses that of the column.
    return column == any_(bindparam(None, list(values), type_=ARRAY(type(column.type))))


def text_array(texts: Iterable[str]) -> ColumnElement[Any]:
    """`texts` as one parameter of the type text[]."""
    return bindparam(None, list(texts), type_=ARRAY(Text))
