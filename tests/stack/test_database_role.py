"""In the stack, too, the service is no superuser; Adminer and a plain Python work as the exercise has it."""

import re

from tests.stack.compose import Stack


def test_web_has_sessions_of_its_own_role_alone(stack: Stack) -> None:
    stack.make("by-the-role")
    sessions = "SELECT DISTINCT usename FROM pg_stat_activity WHERE application_name = 'fullstack-app'"
    assert stack.sql(sessions) == "fullstack_app"
    doctor = stack("exec", "-T", "web", "flask", "doctor").stdout
    assert re.search(r"^role +ok +works as fullstack_app", doctor, re.MULTILINE), doctor


def test_a_plain_python_in_the_container_works_as_the_user_of_the_url(stack: Stack) -> None:
    line = "from app import db; print(db.session.execute('SELECT current_user').scalar())"
    assert stack("exec", "-T", "web", "python", "-c", line).stdout.strip() == "postgres"
    typed = "print(db.session.execute('SELECT current_user').scalar())\n"
    assert "fullstack_app" in stack("exec", "-T", "web", "flask", "shell", input=typed).stdout
