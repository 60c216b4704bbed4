"""The two ways in which a command fails, each with one sentence."""


class BadInput(Exception):
    """The input cannot be used; exit code 2 of the command line."""


class Failed(Exception):
    """The run failed, or found a failure; exit code 1 of the command line."""
