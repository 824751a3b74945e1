"""The one exception that means "the input is at fault, not the program", and a common check."""

import operator
from typing import Any


class BadInput(ValueError):
    """Something the user gave cannot be used.

    The message is one line that quotes the offending value and says the fix.
    The command line prints it without a traceback and leaves with status 2.
    """


def whole_number(name: str, value: Any, least: int) -> int:
    """``value`` as an int; ``BadInput`` unless it is a whole number of at least ``least``."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < least:
        raise BadInput(f"{name} must be a whole number of at least {least}, got {value!r}")
    return number
