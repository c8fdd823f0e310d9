"""Settings: each invalid variable is named, and no secret is shown."""

# ruff: noqa: S104 - such addresses are what is refused

from pathlib import Path

import pytest

from app.config import Settings, is_loopback, load_settings
from app.connection_settings import without_password
from app.errors import SettingsError

WRONG = {
    "DATABASE_URL": ["mysql://u:hunter2@db/x", "db:5432", "postgresql:/db", "postgresql://u:hunter2@db:99999999/x"],
    "DATABASE_ROLE": [" ", "x" * 64],
    "DATABASE_POOL_SIZE": ["0", "501", "many", "1.5"],
    "DATABASE_TIMEOUT_S": ["0", "-1", "301", "soon", "nan"],
    "REDIS_URL": ["http://cache", "cache:6379", "redis://:hunter2@cache:port/0"],
    "REDIS_PORT": ["0", "65536", "-1", "http"],
    "REDIS_TIMEOUT_MS": ["4", "1001", "fast"],
    "CACHE_TTL_S": ["-1", "86401", "a minute"],
    "CACHE_MEMORY_MIB": ["-1", "65537", "64MiB"],
    "PORT": ["0", "65536", "web"],
    "METRICS_PORT": ["-1", "65536", "web", "5000"],
    "WORKERS": ["-1", "257", "all"],
    "THREADS": ["0", "1025", "x"],
    "MAX_BODY_BYTES": ["0", "1023", "1MiB"],
    "IDEMPOTENCY_TTL_H": ["0", "721", "a day"],
    "DATABASE_WAIT_S": ["0", "3601", "inf", "nan"],
    "DRAIN_DELAY_S": ["-1", "9", "x"],
    "LOG_LEVEL": ["loud", "5"],
    "LOG_ADDRESSES": ["some", "2"],
    "LOG_FORMAT": ["xml"],
    "TRUSTED_PROXIES": ["proxy", "10.0.0.0/99", "10.0.0.1/8", "127.0.0.1,,x"],
    "ADMINER_URL": ["localhost:8080", "javascript:alert(1)", "http://localhost:port"],
    "ADMIN_EMAIL": ["ada@example.org"],
    "ADMIN_PASSWORD": ["a password that stands alone"],
    "SESSION_IDLE_H": ["0", "-1", "8761", "a day"],
    "SESSION_MAX_DAYS": ["0", "3651", "for ever"],
    "HISTORY_DAYS": ["-1", "a year", "36501"],
    "TRASH_DAYS": ["-1", "1.5"],
    "SITE_ADDRESS": [
        "https://users.example.org",
        "users.example.org:443",
        "users.example.org/",
        "a.example, b.example",
    ],
    "REPLICAS": ["0", "1001", "two"],
    "WRITE_RATE_PER_MINUTE": ["-1", "many"],
}


def test_the_defaults_are_those_of_the_exercise() -> None:
    settings = load_settings({})
    assert settings.database_url == "postgresql://postgres:password@db:5432/usersdb"
    assert settings.redis_address == "redis://cache:6379/0"
    assert (settings.listen_address, settings.port) == ("127.0.0.1", 5000)
    assert settings.cache_ttl_s == 3600


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_an_invalid_setting_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as raised:
        load_settings({name: value})
    assert "hunter2" not in str(raised.value)


def test_a_site_address_is_a_host_name() -> None:
    for name in ("users.example.org", "b\u00fccher.example", "localhost"):
        assert load_settings({"SITE_ADDRESS": name}).site_address == name
    with pytest.raises(SettingsError, match=r"SITE_ADDRESS: must be a host name.*without https://"):
        load_settings({"SITE_ADDRESS": "https://users.example.org"})


def test_every_setting_with_a_rule_has_an_invalid_example() -> None:
    without_rule = {"redis_host", "redis_password", "allowed_hosts", "published_address", "listen_address"}
    without_rule |= {"postgres_user", "postgres_password", "postgres_db", "self_editable_attributes"}
    without_rule |= {"backup_status_file", "otel_exporter_otlp_endpoint"}
    assert {name.lower() for name in WRONG} == Settings.model_fields.keys() - without_rule


def test_all_invalid_settings_are_named_together() -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings({"PORT": "x", "THREADS": "0", "DATABASE_URL": "mysql://u:hunter2@db/x"})
    for name in ("PORT", "THREADS", "DATABASE_URL"):
        assert name in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("name", [name.upper() for name in Settings.model_fields])
def test_every_setting_is_also_read_from_a_file(name: str, tmp_path: Path) -> None:
    values = {
        "DATABASE_URL": "postgres://u:secret@h/d",
        "REDIS_URL": "redis://h",
        "LISTEN_ADDRESS": "127.0.0.2",
        "PUBLISHED_ADDRESS": "127.0.0.1",
        "LOG_LEVEL": "debug",
        "LOG_ADDRESSES": "true",
        "LOG_FORMAT": "text",
        "TRUSTED_PROXIES": "10.0.0.0/8",
        "ADMINER_URL": "http://h:8080",
    }
    other = {"ADMIN_EMAIL": {"ADMIN_PASSWORD": "x"}, "ADMIN_PASSWORD": {"ADMIN_EMAIL": "x"}}.get(name, {})
    value = values.get(name, "1234" if name == "MAX_BODY_BYTES" else "7")
    file = tmp_path / "value"
    file.write_text(f"{value}\n")
    assert load_settings({f"{name}_FILE": str(file), **other}) == load_settings({name: value, **other})


def test_a_setting_given_by_variable_and_by_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("hunter2")
    with pytest.raises(SettingsError, match="REDIS_PASSWORD and REDIS_PASSWORD_FILE") as raised:
        load_settings({"REDIS_PASSWORD": "hunter1", "REDIS_PASSWORD_FILE": str(file)})
    assert "hunter" not in str(raised.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "secret"
    if content:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"REDIS_PASSWORD_FILE.*secret"):
        load_settings({"REDIS_PASSWORD_FILE": str(file)})


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load_settings({"PORT": "", "DATABASE_URL": "", "PUBLISHED_ADDRESS": "", "REDIS_URL": ""}) == load_settings(
        {}
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("WRITE_LIMIT", "WRITE_RATE_PER_MINUTE"),
        ("START_TIMEOUT_S", "DATABASE_WAIT_S"),
        ("BIND_ADDRESS", "PUBLISHED_ADDRESS"),
    ],
)
def test_the_old_name_of_a_setting_is_refused_with_the_new_one(old: str, new: str) -> None:
    for suffix in ("", "_FILE"):
        with pytest.raises(SettingsError, match=f"{old}{suffix} is now {new}{suffix}"):
            load_settings({f"{old}{suffix}": "7"})
    assert load_settings({old: ""}) == load_settings({})


def test_a_setting_of_only_white_space_is_refused() -> None:
    with pytest.raises(SettingsError, match="REDIS_HOST"):
        load_settings({"REDIS_HOST": "   "})


@pytest.mark.parametrize(
    "url",
    [
        "postgres://u:p@h:5432/d",
        "postgresql://u:p@h:5432/d",
        "postgresql+psycopg://u:p@h:5432/d",
        "postgresql+psycopg2://u:p@h:5432/d",
        "postgresql+asyncpg://u:p@h:5432/d",
    ],
)
def test_a_database_url_with_any_driver_is_accepted(url: str) -> None:
    assert load_settings({"DATABASE_URL": url}).database_url == "postgresql://u:p@h:5432/d"


@pytest.mark.parametrize("link", ["tcp://10.0.0.1:6380", "tcp://[fd00::1]:6380", " tcp://redis:6380 "])
@pytest.mark.parametrize("name", ["REDIS_PORT", "PORT"])
def test_a_kubernetes_service_url_is_accepted_as_redis_port(name: str, link: str) -> None:
    """Beside a service named `redis` each container gets REDIS_PORT=tcp://10.0.0.1:6379."""
    assert getattr(load_settings({name: link}), name.lower()) == 6380
    for wrong in ("tcp://10.0.0.1", "tcp://10.0.0.1:0", "tcp://10.0.0.1:65536", "http://10.0.0.1:6380", "tcp://:x"):
        with pytest.raises(SettingsError, match=name):
            load_settings({name: wrong})


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({"REDIS_HOST": "r", "REDIS_PORT": "1"}, "redis://r:1/0"),
        ({"REDIS_PASSWORD": "a/b@c:"}, "redis://:a%2Fb%40c%3A@cache:6379/0"),
        ({"REDIS_HOST": "::1"}, "redis://[::1]:6379/0"),
        ({"REDIS_URL": "rediss://u:p@h:1/2", "REDIS_HOST": "other"}, "rediss://u:p@h:1/2"),
    ],
)
def test_redis_is_configured_by_parts_or_by_url(environ: dict[str, str], address: str) -> None:
    assert load_settings(environ).redis_address == address


def test_a_service_that_listens_on_all_addresses_is_public_unless_published_on_loopback() -> None:
    assert load_settings({"LISTEN_ADDRESS": "0.0.0.0"}).is_public
    assert load_settings({"PUBLISHED_ADDRESS": "192.168.1.2"}).is_public
    assert not load_settings({"LISTEN_ADDRESS": "0.0.0.0", "PUBLISHED_ADDRESS": "127.0.0.1"}).is_public
    assert not load_settings({}).is_public


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_loopback_addresses_are_recognized(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize(
    "address", ["", "0.0.0.0", "::", "10.0.0.1", "8.8.8.8", "localhost.evil.com", "127.0.0.1.nip.io"]
)
def test_other_addresses_are_not_loopback(address: str) -> None:
    assert not is_loopback(address)


def test_a_url_is_shown_without_its_password() -> None:
    shown = without_password("postgresql://ada:hunter2@db:5432/usersdb?password=hunter3")
    assert shown == "postgresql://ada@db:5432/usersdb"


def test_settings_are_immutable() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings({}).port = 1  # type: ignore[misc]


def test_overrides_win_over_the_environment_and_unknown_ones_are_refused() -> None:
    assert load_settings({"PORT": "1"}, port=2).port == 2
    with pytest.raises(SettingsError, match="PROT"):
        load_settings({}, prot=2)
