"""Filters for the templates."""

from datetime import datetime

from flask import Flask

_BROWSERS = {"Edg": "Edge", "OPR": "Opera", "Firefox": "Firefox", "Chrom": "Chrome", "Safari": "Safari"}
_SYSTEMS = {
    "Android": "Android",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Windows": "Windows",
    "Mac": "macOS",
    "Linux": "Linux",
}
"""A substring of a User-Agent and the name that it stands for. The first match wins: Android contains Linux."""
_MAX_CHARACTERS = 80


def install_template_filters(app: Flask) -> None:
    """Register the filters in `app`."""
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters["parse_timestamp"] = datetime.fromisoformat
    app.jinja_env.filters["browser_name"] = browser_name


def browser_name(agent: str | None) -> str:
    """A short name for a User-Agent, such as `Firefox · Linux`; the User-Agent itself if it is not a browser's."""
    if not agent or "Mozilla/" not in agent:
        return (agent or "")[:_MAX_CHARACTERS]
    name = next((name for part, name in _BROWSERS.items() if part in agent), agent[:_MAX_CHARACTERS])
    system = next((name for part, name in _SYSTEMS.items() if part in agent), None)
    return f"{name} · {system}" if system else name
