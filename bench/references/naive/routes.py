"""The list of the exercise, and the routes that it asks for. `User.query.all()` has a limit here."""

from flask import Blueprint, jsonify, request

from . import db
from .models import User

bp = Blueprint("api", __name__)


@bp.route("/users", methods=["GET"])
def get_users():
    query = User.query
    if q := request.args.get("q"):
        like = f"%{q}%"
        query = query.filter(db.or_(User.name.ilike(like), User.username.ilike(like), User.email.ilike(like)))
    users = query.order_by(User.created_at, User.id).limit(50).all()
    return jsonify([u.to_dict() for u in users])


@bp.route("/users/<uuid:user_id>", methods=["GET"])
def get_user(user_id):
    return jsonify(db.get_or_404(User, user_id).to_dict())


@bp.route("/users", methods=["POST"])
def create_user():
    data = request.get_json()
    user = User(username=data["username"], email=data["email"], name=data["name"])
    db.session.add(user)
    db.session.commit()
    return jsonify(user.to_dict()), 201


@bp.route("/users/<uuid:user_id>", methods=["PATCH"])
def update_user(user_id):
    user = db.get_or_404(User, user_id)
    user.name = request.get_json()["name"]
    db.session.commit()
    return jsonify(user.to_dict())
