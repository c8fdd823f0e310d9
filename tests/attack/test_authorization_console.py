"""Every route and method of the console, with every credential, for every target."""

import pytest

from tests.attack.authorization import routes, wrong_answers
from tests.attack.world import World


@pytest.mark.parametrize(("method", "path"), routes(api=False))
def test_the_console_allows_what_the_docs_say(world: World, method: str, path: str) -> None:
    wrong = wrong_answers(world, method, path)
    assert not wrong, "\n".join(wrong)
