"""Where a form may lead: to paths of this service alone."""


def local(target: str) -> str:
    """`target` when it is a path of this service, else the first page: nobody is led away from here."""
    # Browsers read a backslash as a slash, and leave out tabs and line ends.
    is_plain = target.isprintable() and "\\" not in target
    return target if is_plain and target.startswith("/") and not target.startswith("//") else "/"
