"""The model that the exercise imports but does not print."""

import uuid

from . import db


class User(db.Model):
    __tablename__ = "plain_users"

    id = db.Column(db.Uuid, primary_key=True, default=uuid.uuid4)
    username = db.Column(db.Text, unique=True, nullable=False)
    email = db.Column(db.Text, unique=True)
    name = db.Column(db.Text, nullable=False)
    role = db.Column(db.Text, nullable=False, default="member")
    active = db.Column(db.Boolean, nullable=False, default=True)
    attributes = db.Column(db.JSON, nullable=False, default=dict)
    version = db.Column(db.Integer, nullable=False, default=1)
    created_at = db.Column(db.DateTime(timezone=True), nullable=False, server_default=db.func.now())
    updated_at = db.Column(db.DateTime(timezone=True), nullable=False, server_default=db.func.now())

    def to_dict(self):
        return {
            "id": str(self.id),
            "username": self.username,
            "email": self.email,
            "name": self.name,
            "role": self.role,
            "active": self.active,
            "attributes": self.attributes,
            "version": self.version,
            "created_at": self.created_at.isoformat(),
            "updated_at": self.updated_at.isoformat(),
        }
