"""bench/ablation.py can replace each mechanism of the service."""

from tests.support.service_process import run_program

_CREATE_EACH = """
import os, sys
sys.path.insert(0, "bench")
from rig.variants import VARIANTS, install
from app.factory import create_app
for variant in VARIANTS:
    child = os.fork()
    if child == 0:
        install(variant.key)
        create_app()
        os._exit(0)
    print(variant.key, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_an_application_is_created_without_each_mechanism() -> None:
    done = run_program("-c", _CREATE_EACH, DATABASE_URL="postgresql://u:p@127.0.0.1:1/d")
    statuses = dict(line.split() for line in done.stdout.splitlines())
    assert "redis" in statuses
    assert set(statuses.values()) == {"0"}, done.stderr
