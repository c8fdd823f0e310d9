"""SQL expressions that several modules use."""

import uuid
from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Text, any_, bindparam
from sqlalchemy.dialects.postgresql import ARRAY


def is_any_of(column: ColumnElement[Any], values: Iterable[uuid.UUID] | Iterable[str]) -> ColumnElement[bool]:
    """The condition that `column` holds one of `values`, as one parameter, however many they are."""
    # An array has no collation; that of the column counts.
    return column == any_(bindparam(None, list(values), type_=ARRAY(type(column.type))))


def text_array(texts: Iterable[str]) -> ColumnElement[Any]:
    """`texts` as one parameter of the type text[]."""
    return bindparam(None, list(texts), type_=ARRAY(Text))
