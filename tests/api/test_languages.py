"""Error messages with values: English in JSON, the language of the reader on pages."""

import pytest

from tests.support.secured_app import SecuredApp

FRENCH = {"Accept-Language": "fr"}


def test_a_refusal_with_values_is_english_in_json_and_french_in_a_page(secured_app: SecuredApp) -> None:
    editor = secured_app.session_client(secured_app.create_user("editor", username="eve"))
    problem = editor.delete(f"/users/{secured_app.admin.id}", headers=FRENCH)
    assert problem.status_code == 403
    assert problem.json["detail"] == "The role editor may not create or change a user with the role admin."
    headers = {**editor.headers, **FRENCH}
    page = editor.flask_client.post(f"/people/{secured_app.admin.id}/delete", headers=headers)
    assert page.status_code == 403
    assert "Le rôle éditeur ne peut ni créer ni modifier un utilisateur de rôle administrateur." in page.text


def test_a_refusal_that_holds_another_is_french_as_a_whole(secured_app: SecuredApp) -> None:
    editor = secured_app.session_client(secured_app.create_user("editor", username="eve"))
    form = {"action": "delete", "id": [secured_app.admin.id], "expected": "1"}
    page = editor.flask_client.post("/people/bulk", data=form, headers={**editor.headers, **FRENCH})
    assert page.status_code == 403
    assert "Vous ne pouvez pas modifier 1 des 1 utilisateurs choisis, par exemple &#39;root&#39;. Le" in page.text
    assert "un utilisateur de rôle administrateur. Filtrez par rôle pour les exclure." in page.text


@pytest.mark.parametrize(
    ("field", "value", "english", "french"),
    [
        (
            "email",
            "ada",
            "is not an email address: An email address must have an @-sign.",
            "N’est pas une adresse e-mail : une adresse doit avoir un @.",
        ),
        ("name", "x" * 201, "string should have at most 200 characters", "Doit avoir au plus 200 caractères"),
        ("password", "short", "must have 10 to 128 characters", "Doit avoir de 10 à 128 caractères"),
    ],
)
def test_a_fault_of_a_field_is_english_in_json_and_french_in_a_form(
    secured_app: SecuredApp, field: str, value: str, english: str, french: str
) -> None:
    values = {"username": "ada", field: value}
    problem = secured_app.admin.post("/users", values, headers=FRENCH)
    assert problem.status_code == 422
    assert problem.json["detail"] == "Some fields are invalid."
    assert problem.json["errors"] == [{"field": field, "message": english}]
    page = secured_app.admin.flask_client.post(
        "/people/new", data=values, headers={**secured_app.admin.headers, **FRENCH}
    )
    assert page.status_code == 422
    assert french in page.text.replace("\u00a0", " ").replace("\u202f", " ")
