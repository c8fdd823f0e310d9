"""Prevents open redirects: a form may only lead to a path of this service."""


def local(target: str) -> str:
    """`target` if it is a path of this service, else the start page."""
    # Browsers read a backslash as a slash, and ignore tabs and line ends.
    is_plain = target.isprintable() and "\\" not in target
    return target if is_plain and target.startswith("/") and not target.startswith("//") else "/"
