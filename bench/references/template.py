"""FastAPI with SQLModel, after full-stack-fastapi-template; written again for our fields.

A request does the same work: synchronous views in the thread pool, one session each, a JWT whose user is read first,
the same statements (a list counts its table, a new address is looked up first, a written row is read again), and a
model of the response. Its superuser is our role admin.
"""

import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import jwt
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import OAuth2PasswordBearer
from pydantic import EmailStr
from sqlalchemy import JSON, Column, DateTime
from sqlmodel import Field, Session, SQLModel, col, create_engine, func, select

engine = create_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:", 1))
secret = os.environ["SECRET_KEY"]
bearer = OAuth2PasswordBearer(tokenUrl="/sign-in")
app = FastAPI()


def now() -> datetime:
    return datetime.now(UTC)


class UserIn(SQLModel):
    username: str = Field(max_length=255)
    email: EmailStr | None = Field(default=None, max_length=255)
    name: str = Field(max_length=255)


class UserChange(SQLModel):
    email: EmailStr | None = Field(default=None, max_length=255)
    name: str | None = Field(default=None, max_length=255)


class UserOut(SQLModel):
    id: uuid.UUID
    username: str
    # EmailStr, which the template uses, refuses the domain .test of the seeded users.
    email: str | None
    name: str
    role: str
    active: bool
    attributes: dict[str, Any]
    version: int
    created_at: datetime
    updated_at: datetime


class Page(SQLModel):
    data: list[UserOut]
    count: int


class User(UserIn, table=True):
    __tablename__ = "plain_users"

    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    role: str = "member"
    active: bool = True
    attributes: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON))
    version: int = 1
    created_at: datetime = Field(default_factory=now, sa_type=DateTime(timezone=True))
    updated_at: datetime = Field(default_factory=now, sa_type=DateTime(timezone=True))


def open_session() -> Iterator[Session]:
    with Session(engine) as session:
        yield session


Database = Annotated[Session, Depends(open_session)]


def signed_in(database: Database, token: Annotated[str, Depends(bearer)]) -> User:
    try:
        subject = jwt.decode(token, secret, algorithms=["HS256"])["sub"]
    except jwt.InvalidTokenError as error:
        raise HTTPException(403, "The token is not valid.") from error
    found = database.get(User, subject)
    if found is None or not found.active:
        raise HTTPException(403, "The user of this token is gone.")
    return found


Me = Annotated[User, Depends(signed_in)]


def administrator(me: Me) -> None:
    if me.role != "admin":
        raise HTTPException(403, "Only administrators may do this.")


ONLY_ADMINISTRATORS = [Depends(administrator)]


@app.get("/users/", dependencies=ONLY_ADMINISTRATORS, response_model=Page)
def index(database: Database, skip: int = 0, limit: int = 100) -> Any:
    count = database.exec(select(func.count()).select_from(User)).one()
    page = select(User).order_by(col(User.created_at), col(User.id)).offset(skip).limit(limit)
    return Page(data=database.exec(page).all(), count=count)


@app.get("/users/{user_id}", response_model=UserOut)
def show(user_id: uuid.UUID, database: Database, me: Me) -> Any:
    found = database.get(User, user_id)
    if found is not me and me.role != "admin":
        raise HTTPException(403, "Only administrators may see others.")
    return found or _missing()


@app.post("/users/", dependencies=ONLY_ADMINISTRATORS, response_model=UserOut, status_code=201)
def create(draft: UserIn, database: Database) -> Any:
    _require_free(database, draft.email)
    return _kept(database, User.model_validate(draft))


@app.patch("/users/{user_id}", dependencies=ONLY_ADMINISTRATORS, response_model=UserOut)
def change(user_id: uuid.UUID, patch: UserChange, database: Database) -> Any:
    found = database.get(User, user_id) or _missing()
    _require_free(database, patch.email, found)
    found.sqlmodel_update(patch.model_dump(exclude_unset=True))
    return _kept(database, found)


def _require_free(database: Session, email: str | None, owner: User | None = None) -> None:
    if email and database.exec(select(User).where(User.email == email)).first() not in (None, owner):
        raise HTTPException(409, "This address is taken.")


def _kept(database: Session, user: User) -> User:
    database.add(user)
    database.commit()
    database.refresh(user)
    return user


def _missing() -> User:
    raise HTTPException(404, "There is no such user.")
