"""FastAPI with asyncpg: async views, one pool for each worker, and JSON that PostgreSQL creates.

A Response that a view returns directly is not validated again: FastAPI's documentation recommends this for large
responses. asyncpg prepares each statement once for each connection.
"""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import asyncpg
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from pydantic import BaseModel, EmailStr

FIELDS = "id, username, email, name, role, active, attributes, version, created_at, updated_at"
PAGE = f"SELECT coalesce(json_agg(u), '[]')::text FROM (SELECT {FIELDS} FROM searchable_users%s) AS u"
FIRST = "ORDER BY created_at, id LIMIT 50"
ONE = f"SELECT row_to_json(u)::text FROM (SELECT {FIELDS} FROM searchable_users WHERE id = $1) AS u"
MADE = (
    f"WITH made AS (INSERT INTO searchable_users (username, email, name) VALUES ($1, $2, $3) RETURNING {FIELDS})"
    " SELECT row_to_json(made)::text FROM made"
)
CHANGED = (
    "WITH changed AS (UPDATE searchable_users SET name = $2, version = version + 1, updated_at = now()"
    f" WHERE id = $1 RETURNING {FIELDS}) SELECT row_to_json(changed)::text FROM changed"
)


class Draft(BaseModel):
    username: str
    email: EmailStr | None = None
    name: str


class Patch(BaseModel):
    name: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["DATABASE_URL"]) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


async def pool_of(request: Request) -> asyncpg.Pool:
    return request.app.state.pool


Pool = Annotated[asyncpg.Pool, Depends(pool_of)]


@app.get("/users")
async def index(pool: Pool, q: str | None = None) -> Response:
    if q is None:
        return _json(await pool.fetchval(PAGE % f" {FIRST}"))
    return _json(await pool.fetchval(PAGE % f" WHERE search @@ to_tsquery('simple', $1) {FIRST}", f"{q}:*"))


@app.get("/users/{user_id}")
async def show(user_id: uuid.UUID, pool: Pool) -> Response:
    return _json(await pool.fetchval(ONE, user_id))


@app.post("/users")
async def create(draft: Draft, pool: Pool) -> Response:
    return _json(await pool.fetchval(MADE, draft.username, draft.email, draft.name), 201)


@app.patch("/users/{user_id}")
async def change(user_id: uuid.UUID, patch: Patch, pool: Pool) -> Response:
    return _json(await pool.fetchval(CHANGED, user_id, patch.name))


def _json(body: str | None, status: int = 200) -> Response:
    if body is None:
        raise HTTPException(404)
    return Response(body, status, media_type="application/json")
