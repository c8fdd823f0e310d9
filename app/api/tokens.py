"""/api/tokens: list, create and revoke API tokens."""

import uuid
from typing import Annotated

from flask import Response, url_for
from pydantic import BaseModel, BeforeValidator, Field, RootModel

from app.api.declarations import StrictBlueprint, json_response, problems
from app.auth.schemas import NewToken, Token, TokenDraft
from app.http.access import audit_context
from app.http.parsing import token_id_of
from app.http.services import services


class TokenPath(BaseModel):
    """The path of one token."""

    token_id: Annotated[uuid.UUID, BeforeValidator(token_id_of)] = Field(description="id of the token")


class TokenList(RootModel[list[Token]]):
    """All tokens, newest first."""


blueprint = StrictBlueprint("tokens", "API tokens, the credentials of programs.", problems(400, 401, 403, 429, 503))


@blueprint.get("/tokens", operation_id="listTokens", responses={200: TokenList})
def list_tokens() -> Response:
    """List all API tokens

    The secrets are not stored, so they are not listed.
    """
    return json_response(services().tokens.get_list())


@blueprint.post("/tokens", operation_id="createToken", responses={201: NewToken, **problems(413, 415, 422)})
def create(body: TokenDraft) -> Response:
    """Create an API token

    Only this response contains the secret. A token is valid until it is revoked or expires, or its user is
    deactivated or deleted. If the role of its user becomes lower than that of the token, it also applies to the token.
    """
    created = services().tokens.create(body, audit_context())
    response = json_response(created, 201)
    response.headers["Location"] = f"{url_for('.list_tokens')}/{created['id']}"
    return response


@blueprint.delete("/tokens/<token_id>", operation_id="revokeToken", responses={204: None, **problems(404)})
def revoke(path: TokenPath) -> Response:
    """Revoke an API token

    The next request with the token fails with 401.
    """
    services().tokens.revoke(path.token_id, audit_context())
    return Response(status=204)
