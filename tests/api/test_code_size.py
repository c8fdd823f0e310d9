"""The bounds of bench/walk.py: files and functions that a request enters, and the size of app/."""

from tests.support.service_process import run_program


def test_the_code_of_the_service_stays_within_its_bounds() -> None:
    done = run_program("bench/walk.py", "--check", timeout_s=110)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS" in done.stdout
