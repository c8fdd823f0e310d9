"""The dashboard of the console shows administrators the state of the backups."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.http.parsing import SESSION_COOKIE
from tests.support.backup_files import ago, good_status, write_status
from tests.support.secured_app import SecuredApp

_FAILURE = {"at": ago(hours=1), "reason": "no space left on <device>"}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("status") / "backup.json"


@pytest.fixture(scope="module")
def own_app(make_app: Callable[..., Flask], file: Path) -> Flask:
    """An application that reads the file."""
    return make_app(backup_status_file=str(file))


def section(secured: SecuredApp, role: str = "admin", language: str = "en") -> str:
    """The section of a page for a user with this role; empty: there is none."""
    user = secured.admin.user if role == "admin" else secured.create_user(role)
    browser = secured.app.test_client()
    browser.set_cookie(SESSION_COOKIE, secured.session_cookie(user))
    page = browser.get("/overview", headers={"Accept-Language": language})
    assert page.status_code == 200
    found = re.search(r'<section[^>]*"backups-title">.*?</section>', page.text, re.DOTALL)
    return found[0] if found else ""


def test_it_shows_when_a_backup_was_proven(own_secured_app: SecuredApp, file: Path) -> None:
    proof = good_status()["last_proven"]
    write_status(file, last_proven=proof)
    shown = section(own_secured_app)
    assert "Backups are proven" in shown
    assert f'datetime="{proof["finished_at"]}"' in shown
    assert "error" not in shown


def test_it_shows_why_backups_failed(own_secured_app: SecuredApp, file: Path) -> None:
    write_status(file, failure=_FAILURE, same_disk=True)
    shown = section(own_secured_app)
    assert "Backups need attention" in shown
    assert "The last full backup failed: no space left on &lt;device&gt;." in shown
    assert "on the disk of the database" in shown
    french = section(own_secured_app, language="fr")
    assert "Les sauvegardes demandent votre attention" in french
    assert "La dernière sauvegarde complète a échoué" in french


def test_it_shows_that_there_are_none(own_secured_app: SecuredApp, file: Path) -> None:
    file.unlink(missing_ok=True)
    shown = section(own_secured_app)
    assert "There are no backups: the service backup has never run." in shown
    assert shown.count("<span>\N{EN DASH}</span>") == 3


def test_others_do_not_see_it(own_secured_app: SecuredApp, file: Path) -> None:
    write_status(file, failure=_FAILURE)
    assert section(own_secured_app, "editor") == ""
    health = own_secured_app.app.test_client().get("/overview/health")
    assert (health.status_code, "device" in health.text) == (200, False)


def test_without_the_setting_it_is_not_shown(admin: FlaskClient) -> None:
    page = admin.get("/overview")
    assert page.status_code == 200
    assert "backups-title" not in page.text
