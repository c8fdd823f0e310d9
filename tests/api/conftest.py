"""What tests of sign-in share."""

from collections.abc import Callable

import pytest
from flask import Flask
from people import House


@pytest.fixture
def house(app: Flask, empty: Callable[[], None]) -> House:  # noqa: ARG001 - it is called for its effect
    """A closed service."""
    return House(app)
