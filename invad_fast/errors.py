"""The one exception for mistakes that a user can mend."""


class InputError(ValueError):
    """Something given to invad_fast is wrong: one line saying what, where, and what to do.

    The command line prints it without a traceback and exits with status 2.
    """
