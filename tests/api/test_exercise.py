"""The commands and snippets of the exercise, as printed, in new processes."""

import subprocess
import sys
from collections.abc import Callable

import psycopg
import pytest
from flask import Blueprint, Flask, jsonify

from app.extensions import db
from app.models import User
from embedded import Stack
from embedded.ports import free_port
from tests.support.api_client import ApiClient
from tests.support.service_process import ROOT, clean_environment

# Step 2c, as printed but for the prefix under which it is registered.
SNIPPET = """
from flask import Blueprint, request, jsonify
from app import db
from app.models import User

bp = Blueprint('exercise', __name__)

@bp.route('/users', methods=['GET'])
def get_users():
    users = User.query.all()
    return jsonify([u.to_dict() for u in users])
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(servers: Stack) -> Run:
    """Run a program of the virtual environment, as `docker compose exec web` does."""

    def start(*command: str, typed: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        own = {
            "DATABASE_URL": servers.postgres.url,
            "REDIS_URL": servers.redis.url,
            "FLASK_APP": "app",
            "LOG_LEVEL": "warning",
        }
        return subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env={**clean_environment(), **own, **env},
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return start


def test_step_8_typed_into_python_works_as_printed(run: Run) -> None:
    typed = "from app import db, cache\ndb.session.execute('SELECT 1')\ncache.ping()\n"
    done = run("-i", "-q", typed=typed)
    assert "Error" not in done.stderr, done.stderr
    assert "Result object" in done.stdout
    assert done.stdout.strip().endswith("True")


def test_step_8_gives_what_it_asks_for(run: Run) -> None:
    script = "from app import db, cache; print(db.session.execute('SELECT 41 + 1').scalar(), cache.ping())"
    done = run("-W", "error", "-c", script)
    assert (done.stdout.strip(), done.returncode) == ("42 True", 0), done.stderr


def test_a_session_commits_and_rolls_back(run: Run, app: Flask, api: ApiClient) -> None:
    api.create_user(name="Ada")
    rename = "UPDATE users SET name = '{}'"
    with app.app_context():
        for name, end in (("Eve", db.session.rollback), ("Grace", db.session.commit), ("Eve", db.session.rollback)):
            db.session.execute(rename.format(name))
            end()
        assert db.session.execute("SELECT name FROM users").scalar() == "Grace"
        db.session.execute(rename.format("Eve"))
        db.session.remove()
        with db.engine.connect() as connection:
            connection.exec_driver_sql(rename.format("Eve"))
    script = f"from app import db; db.session.execute({rename.format('Eve')!r}); db.session.rollback()"
    done = run("-c", script)
    assert done.returncode == 0, done.stderr
    with app.app_context():
        assert db.session.execute("SELECT name FROM users").scalar() == "Grace"


def test_importing_the_app_connects_to_nothing_and_needs_no_settings(run: Run) -> None:
    nowhere = {"DATABASE_URL": "postgresql://127.0.0.1:1/x", "REDIS_URL": "redis://127.0.0.1:1"}
    assert run("-c", "import app; app.db; app.cache; app.create_app", **nowhere).returncode == 0
    assert run("-c", "import app", DATABASE_URL="nonsense").returncode == 0


def test_redis_and_postgres_are_found_by_their_parts_too(run: Run, servers: Stack) -> None:
    parts = {"REDIS_URL": "", "REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(servers.redis.port)}
    url = servers.postgres.url.replace("postgresql://", "postgres://")
    script = "from app import db, cache; print(db.session.execute('SELECT 1').scalar(), cache.ping())"
    done = run("-c", script, **parts, REDIS_PASSWORD=servers.redis.password, DATABASE_URL=url)
    assert done.stdout.strip() == "1 True", done.stderr


def test_step_2_lists_users_without_an_application(run: Run, api: ApiClient) -> None:
    user = api.create_user(email="ada@example.org", attributes={"a": 1})
    script = "from app.models import User; import json; print(json.dumps([u.to_dict() for u in User.query.all()]))"
    done = run("-c", script)
    assert user["id"] in done.stdout, done.stderr
    assert '"email": "ada@example.org"' in done.stdout
    assert "password" not in done.stdout


def test_step_2_c_as_printed_serves_users_as_json(make_app: Callable[..., Flask], api: ApiClient) -> None:
    user = api.create_user(email="ada@example.org", name="Ada", attributes={"a": 1})
    scope: dict[str, Blueprint] = {"__name__": "exercise"}  # type: ignore[dict-item]
    exec(SNIPPET, scope)  # noqa: S102 - the exercise's own text
    app = make_app()
    app.register_blueprint(scope["bp"], url_prefix="/exercise")
    client = app.test_client()
    response = client.get("/exercise/users")
    assert response.status_code == 200
    (shown,) = response.json
    moments = ("created_at", "updated_at")
    assert {name: value for name, value in shown.items() if name not in moments} == {
        name: value for name, value in user.items() if name not in moments
    }
    for _ in range(25):
        assert client.get("/exercise/users").status_code == 200, "a connection of the pool was not given back"


def test_models_are_the_ones_that_flask_sqlalchemy_knows(app: Flask, api: ApiClient) -> None:
    user = api.create_user(username="ada")
    with app.app_context():
        assert str(User.query.filter_by(username="ada").one().id) == user["id"]
        assert jsonify([one.to_dict() for one in User.query.all()]).status_code == 200


def test_flask_shell_has_all_at_hand(run: Run, api: ApiClient) -> None:
    api.create_user(username="ada")
    typed = "print(User.query.one().username, cache.ping(), db.session.execute('SELECT 7').scalar())\n"
    typed += "print(HistoryEntry.query.count())\n"
    done = run("-m", "flask", "shell", typed=typed)
    assert "ada True 7" in done.stdout, done.stderr


def test_flask_db_upgrade_migrates_by_hand(run: Run, new_database: str) -> None:
    assert run("-m", "flask", "doctor", DATABASE_URL=new_database).returncode == 1
    done = run("-m", "flask", "db", "upgrade", DATABASE_URL=new_database)
    assert done.returncode == 0, done.stderr
    assert run("-m", "flask", "doctor", DATABASE_URL=new_database).returncode == 0
    for command in (("downgrade", "base"), ("upgrade",), ("check",)):
        done = run("-m", "flask", "db", *command, DATABASE_URL=new_database)
        assert done.returncode == 0, (command, done.stdout, done.stderr)


def test_flask_doctor_tells_that_all_is_well(run: Run, servers: Stack) -> None:
    done = run("-m", "flask", "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("database", "cache", "migrations", "access"):
        assert name in done.stdout
    assert "failed" not in done.stdout
    assert servers.postgres.password not in done.stdout
    assert servers.redis.password not in done.stdout


@pytest.mark.parametrize(
    ("variable", "scheme", "part"), [("DATABASE_URL", "postgresql", "database"), ("REDIS_URL", "redis", "cache")]
)
def test_flask_doctor_says_what_is_away_and_exits_with_1(run: Run, variable: str, scheme: str, part: str) -> None:
    done = run("-m", "flask", "doctor", **{variable: f"{scheme}://ada:hunter2@127.0.0.1:{free_port()}/0"})
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert any(line.split()[:2] == [part, "failed"] for line in done.stdout.splitlines()), done.stdout
    assert "hunter2" not in done.stdout + done.stderr


def test_flask_doctor_knows_a_database_of_a_newer_release(run: Run, new_database: str) -> None:
    run("-m", "flask", "db", "upgrade", DATABASE_URL=new_database)
    with psycopg.connect(new_database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999', compatible_from = '9999'")
    done = run("-m", "flask", "doctor", DATABASE_URL=new_database)
    assert done.returncode == 1
    assert "9999" in done.stdout
    assert "Traceback" not in done.stderr


def test_flask_doctor_warns_of_what_is_unsafe(run: Run) -> None:
    done = run("-m", "flask", "doctor", LOG_LEVEL="debug", CACHE_TTL_S="0")
    assert done.returncode == 0
    assert [line.split()[:2] for line in done.stdout.splitlines()].count(["settings", "warning"]) == 2
    assert "LOG_LEVEL" in done.stdout
    assert "CACHE_TTL_S" in done.stdout
