"""Parts that all pages share: assets, headers, languages, fragments for scripts."""

import gzip
import re
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.search.pages import UserPages
from tests.support.api_client import ApiClient
from tests.support.console_client import SAME_ORIGIN, create_user_page, send

FRENCH = {"Accept-Language": "fr-CA,fr;q=0.9,en;q=0.5"}
PARTIAL = {"HX-Request": "true", "HX-Request-Type": "partial", "HX-Target": "div#list"}


def assets_of(page: str) -> list[str]:
    return sorted(set(re.findall(r'(?:src|href)="(/assets/[^"]+)"', page)))


def test_assets_are_cached_permanently_and_compressed(admin: FlaskClient) -> None:
    paths = assets_of(admin.get("/people").text)
    assert [path.rpartition("/")[2] for path in sorted(paths, key=lambda path: path[-6:])]
    for path in paths:
        plain, packed = admin.get(path), admin.get(path, headers={"Accept-Encoding": "gzip, br"})
        assert plain.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert (packed.headers["Content-Encoding"], packed.headers["Vary"]) == ("gzip", "Accept-Encoding")
        assert gzip.decompress(packed.data) == plain.data
        assert len(packed.data) < len(plain.data)
        assert "Content-Encoding" not in plain.headers


def test_an_asset_of_another_release_is_not_cached(admin: FlaskClient) -> None:
    response = admin.get("/assets/000000000000/console.css")
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    assert admin.get("/assets/000000000000/nothing.css").status_code == 404


def test_a_full_page_of_users_weighs_less_than_100_kb(admin: FlaskClient) -> None:
    for number in range(50):
        create_user_page(admin, username=f"user{number:02}", name=f"A Name Of Usual Length {number:02}")
    page = admin.get("/people")
    packed = {"Accept-Encoding": "gzip"}
    weight = len(page.data) + sum(len(admin.get(path, headers=packed).data) for path in assets_of(page.text))
    assert page.text.count('<td class="name">') == 50
    assert weight < 100_000


@pytest.mark.parametrize("path", ["/sign-in", "/people", "/people/new", "/password", "/people?role=king", "/overview"])
def test_every_page_forbids_what_it_does_not_need(admin: FlaskClient, path: str) -> None:
    headers = admin.get(path).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    assert "Strict-Transport-Security" not in headers


def test_under_https_pages_have_strict_transport_security(admin: FlaskClient) -> None:
    response = admin.get("/sign-in", base_url="https://localhost")
    assert response.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_no_page_holds_a_script_or_a_style_of_its_own(admin: FlaskClient) -> None:
    path = create_user_page(admin, name="Bob", username="bob")
    for address in ("/people", path, "/people/new", "/overview", "/api-tokens", "/password", "/sign-in"):
        page = admin.get(address).text
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", page), address
        assert re.findall(r"<script(?![^>]*src=)", page) == []


def test_the_language_is_what_the_browser_prefers(admin: FlaskClient) -> None:
    page = admin.get("/people", headers=FRENCH).text
    assert '<html lang="fr">' in page
    assert "Nouvel utilisateur" in page
    assert '<html lang="en">' in admin.get("/people", headers={"Accept-Language": "ja"}).text


def test_the_language_switch_stores_the_language_and_returns_to_the_page(admin: FlaskClient) -> None:
    response = send(admin, "/language", language="fr", next="/people?q=ada")
    assert (response.status_code, response.location) == (303, "/people?q=ada")
    assert "Nom, identifiant ou e-mail" in admin.get("/people").text
    send(admin, "/language", language="en")
    assert "New user" in admin.get("/people", headers=FRENCH).text


@pytest.mark.parametrize(("language", "target"), [("xx", "/people"), ("fr", "//evil.example"), ("fr", "https://evil")])
def test_the_language_switch_refuses_other_languages_and_other_sites(app: Flask, language: str, target: str) -> None:
    browser = app.test_client()
    response = send(browser, "/language", language=language, next=target)
    assert response.location == (target if target == "/people" else "/")
    assert (browser.get_cookie("fsa_language") is None) == (language == "xx")


def test_a_field_error_is_shown_in_french(admin: FlaskClient) -> None:
    form = {"name": "Bob", "email": "nobody", "role": "member", "attributes": '{"a":', "password": "kurz"}
    page = admin.post("/people/new", data=form, headers={**SAME_ORIGIN, **FRENCH}).text.replace("\u00a0", " ")
    assert "N’est pas une adresse e-mail : une adresse doit avoir un @." in page
    assert "Doit avoir de 10 à 128 caractères" in page
    assert "à la ligne 1, colonne 6" in page


def test_the_api_stays_english(admin: FlaskClient) -> None:
    response = admin.post("/api/users", json={"email": "nobody"}, headers={**SAME_ORIGIN, **FRENCH})
    assert response.json["errors"][0]["message"].startswith("is not an email address")


def test_a_script_gets_only_the_list(admin: FlaskClient) -> None:
    create_user_page(admin, name="Bob", username="bob")
    response = admin.get("/people?q=bob&role=&active=", headers={**PARTIAL, "HX-Source": "form#search"})
    assert "<html" not in response.text
    assert 'id="list" data-q="bob"' in response.text
    assert "Bob" in response.text
    assert response.headers["HX-Replace-Url"] == "/people?q=bob"
    assert '<div id="announcement" hx-swap-oob="innerHTML">1 user</div>' in response.text


def test_a_script_without_a_session_is_led_to_sign_in_and_back_to_its_page(app: Flask, admin: FlaskClient) -> None:
    assert admin.get("/people").status_code == 200
    current = {"HX-Current-URL": "http://localhost/people?sort=name"}
    response = app.test_client().get("/people?q=b", headers={**PARTIAL, **current})
    assert response.status_code == 401
    assert response.headers["HX-Redirect"] == "/sign-in?next=%2Fpeople%3Fsort%3Dname"
    assert response.text == ""


def test_an_error_of_a_list_replaces_the_list(sign_in: Callable[[str], FlaskClient]) -> None:
    response = sign_in("member").get("/people", headers=PARTIAL)
    assert response.status_code == 403
    assert response.text.startswith('<div id="list"')
    assert 'role="alert"' in response.text


def test_an_unexpected_error_is_a_page_with_the_request_id(admin: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UserPages, "page", lambda *_: 1 / 0)
    response = admin.get("/people", headers={"X-Request-ID": "find-me"})
    assert response.status_code == 500
    assert "find-me" in response.text
    assert "division" not in response.text
    assert "<html" in response.text


def test_a_form_that_is_too_large_is_refused_on_a_page(admin: FlaskClient) -> None:
    response = send(admin, "/people/new", name="x" * 2**21)
    assert response.status_code == 413
    assert "<html" in response.text


def test_health_is_asked_for_without_a_session(app: Flask, admin: FlaskClient) -> None:
    assert "Operational" in admin.get("/overview").text
    response = app.test_client().get("/overview/health", headers=PARTIAL)
    assert response.status_code == 200
    assert response.text.lstrip().startswith('<section class="card" id="health"')
    assert "Set-Cookie" not in response.headers


def test_administrators_find_the_way_to_adminer(
    make_app: Callable[..., Flask], admin: FlaskClient, sign_in: Callable[[str], FlaskClient]
) -> None:
    linked = make_app(adminer_url="http://localhost:8080")
    assert "Adminer" not in admin.get("/people").text
    for browser, is_told in ((admin, True), (sign_in("viewer"), False)):
        cookie = browser.get_cookie("fsa_session")
        assert cookie is not None
        page = linked.test_client(use_cookies=False).get("/people", headers={"Cookie": f"fsa_session={cookie.value}"})
        assert ('href="http://localhost:8080"' in page.text) == is_told


def test_an_anonymous_visitor_sees_no_protected_content(make_app: Callable[..., Flask], admin: FlaskClient) -> None:
    assert admin.get("/overview").status_code == 200
    anonymous = make_app(adminer_url="http://localhost:8080").test_client()
    assert anonymous.get("/people").status_code == 302
    for page in (anonymous.get("/sign-in"), send(anonymous, "/sign-in", username="x", password="y")):
        assert "Adminer" not in page.text
        assert "/people" not in page.text.partition("<main")[2]
        assert "has full access" not in page.text


@pytest.mark.parametrize("place", ["http://[", "", "//evil.example/x", "http://localhost/\\evil"])
@pytest.mark.usefixtures("admin")
def test_a_script_with_an_invalid_page_header_is_redirected_to_the_first_page(app: Flask, place: str) -> None:
    response = app.test_client().get("/people", headers={**PARTIAL, "HX-Current-URL": place})
    assert response.status_code == 401
    assert response.headers["HX-Redirect"] in ("/sign-in?next=%2F", "/sign-in?next=%2Fx")


def test_in_setup_mode_every_page_shows_a_warning_with_the_way_out(app: Flask, api: ApiClient) -> None:
    api.create_user(name="Bob")
    for path in ("/people", "/overview", "/people/new"):
        page = app.test_client().get(path).text
        assert "has full access without a password" in page
        assert 'href="/">Create the first administrator</a>' in page
