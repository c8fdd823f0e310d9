"""Secrets lose one final line end, other settings lose surrounding white space."""

from pathlib import Path

import pytest

from app.config import Settings, load_settings
from app.errors import SettingsError

SECRETS = ("ADMIN_PASSWORD", "POSTGRES_PASSWORD", "REDIS_PASSWORD")
OTHER = {"ADMIN_PASSWORD": {"ADMIN_EMAIL": "ada@example.org"}}
AS_WRITTEN = (" a b ", "\ta", "a\t", "é漢 ", "\u00a0a\u00a0", "a\r", "\"a'", "x" * 64)


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("secret", AS_WRITTEN)
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_secret_loses_one_final_line_end_and_nothing_else(name: str, secret: str, end: str, tmp_path: Path) -> None:
    if end == "\n" and secret.endswith("\r"):
        return
    file = tmp_path / "secret"
    file.write_bytes((secret + end).encode())
    for environ in ({f"{name}_FILE": str(file)}, {name: secret + end}):
        assert getattr(load_settings({**environ, **OTHER.get(name, {})}), name.lower()) == secret


@pytest.mark.parametrize("name", SECRETS)
def test_only_one_of_several_final_line_ends_is_removed(name: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    for text, left in (("a\n\n", "a\n"), ("a\r\n\r\n", "a\r\n"), ("\na", "\na")):
        file.write_bytes(text.encode())
        assert getattr(load_settings({f"{name}_FILE": str(file), **OTHER.get(name, {})}), name.lower()) == left


@pytest.mark.parametrize("name", [*SECRETS, "LOG_LEVEL", "PORT", "DATABASE_URL", "TRUSTED_PROXIES", "REDIS_HOST"])
def test_a_byte_order_mark_is_no_part_of_a_value(name: str, tmp_path: Path) -> None:
    values = {"LOG_LEVEL": "debug", "PORT": "77", "DATABASE_URL": "postgresql://u:p@h/d", "TRUSTED_PROXIES": "10.0.0.1"}
    value, other = values.get(name, "hunter2"), OTHER.get(name, {})
    file = tmp_path / "value"
    file.write_bytes(b"\xef\xbb\xbf" + value.encode() + b"\r\n")
    assert load_settings({f"{name}_FILE": str(file), **other}) == load_settings({name: value, **other})


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_a_file_in_another_encoding_is_refused_by_its_name(encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "value"
    file.write_bytes("hünter2".encode(encoding))
    with pytest.raises(SettingsError, match=r"POSTGRES_PASSWORD_FILE: .*value.* UTF-8") as refused:
        load_settings({"POSTGRES_PASSWORD_FILE": str(file)})
    assert "nter2" not in str(refused.value)


@pytest.mark.parametrize("name", sorted({field.upper() for field in Settings.model_fields} - set(SECRETS)))
@pytest.mark.parametrize("around", [" {}", "{} ", "{}\r", "\t{}\r\n", "{}\n"])
def test_other_settings_lose_surrounding_white_space(name: str, around: str, tmp_path: Path) -> None:
    values = {
        "DATABASE_URL": "postgresql://u:p@h/d",
        "REDIS_URL": "redis://h",
        "LISTEN_ADDRESS": "127.0.0.2",
        "PUBLISHED_ADDRESS": "127.0.0.1",
        "LOG_LEVEL": "debug",
        "LOG_ADDRESSES": "true",
        "LOG_FORMAT": "text",
        "TRUSTED_PROXIES": "10.0.0.0/8",
        "ADMINER_URL": "http://h:8080",
    }
    other = {"ADMIN_PASSWORD": "x"} if name == "ADMIN_EMAIL" else {}
    value = values.get(name, "1234" if name == "MAX_BODY_BYTES" else "7")
    plain = load_settings({name: value, **other})
    file = tmp_path / "value"
    file.write_bytes(around.format(value).encode())
    assert load_settings({name: around.format(value), **other}) == plain
    assert load_settings({f"{name}_FILE": str(file), **other}) == plain


def test_the_password_in_a_url_keeps_its_blanks() -> None:
    settings = load_settings({"DATABASE_URL": " postgresql://u: p w @h/d\r\n"})
    assert settings.database_parameters["password"] == " p w "
    assert load_settings({"REDIS_URL": " redis://: p w @h/1 "}).redis_url == "redis://:%20p%20w%20@h/1"
