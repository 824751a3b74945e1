"""The one exception that means "the input is at fault, not the program"."""


class BadInput(ValueError):
    """Something the user gave cannot be used.

    The message is one line that quotes the offending value and says the mend.
    The command line prints it without a traceback and leaves with status 2.
    """
