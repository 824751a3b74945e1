"""The one exception that means "the input is at fault, not the program"; how errors are told."""

import errno
import operator
from typing import Any


class BadInput(ValueError):
    """Something the user gave cannot be used.

    The message is one line that quotes the offending value and says the fix.
    The command line prints it without a traceback and leaves with status 2.
    """


def reason(error: Exception) -> str:
    """One short line of what an error says."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def of_the_machine(error: Exception) -> bool:
    """Whether the machine could not open a file, whatever the file holds."""
    troubles = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EPERM, errno.EIO)
    return isinstance(error, OSError) and error.errno in troubles


def whole_number(name: str, value: Any, least: int) -> int:
    """``value`` as an int; ``BadInput`` unless it is a whole number of at least ``least``."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise BadInput(f"{name} must be a whole number of at least {least}, got {value!r}")
    return number


def explain_in(shell: Any) -> None:
    """Have an IPython shell tell an interrupt in a line, and a missing name with what to run."""

    def explain(shell: Any, kind: type, error: BaseException, trace: Any, tb_offset: Any = None):
        if kind is KeyboardInterrupt:
            return print("interrupted")
        shell.showtraceback((kind, error, trace), tb_offset=tb_offset)
        print("If a cell above has not run yet: Run > Run All Above Selected Cell.")

    shell.set_custom_exc((KeyboardInterrupt, NameError), explain)
