"""How values are written on pages: filters for the templates."""

from datetime import datetime

from flask import Flask

_BROWSERS = {"Edg": "Edge", "OPR": "Opera", "Firefox": "Firefox", "Chrom": "Chrome", "Safari": "Safari"}
_SYSTEMS = {"Android": "Android", "iPhone": "iPhone", "iPad": "iPad", "Windows": "Windows", "Mac": "macOS"}


def install_formats(app: Flask) -> None:
    """Give the templates of `app` their filters."""
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters["instant"] = datetime.fromisoformat
    app.jinja_env.filters["browser"] = browser


def browser(agent: str | None) -> str:
    """A User-Agent in the words of people, such as Firefox on Linux; as it is when it says too little."""
    if not agent or "Mozilla/" not in agent:
        return (agent or "")[:80]
    name = next((name for mark, name in _BROWSERS.items() if mark in agent), agent[:80])
    system = next((name for mark, name in {**_SYSTEMS, "Linux": "Linux"}.items() if mark in agent), None)
    return f"{name} · {system}" if system else name
