"""The errors that commands report in one sentence."""


class Refused(Exception):
    """The command can't begin: a setting, a secret or the state of a folder is wrong."""


class Failed(Exception):
    """A program failed, or did not do what was asked."""


class NotProven(Exception):
    """A backup could not be restored, or what was restored differs from the database."""
