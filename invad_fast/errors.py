"""What a person who uses invad_fast is told of their own mistakes, and of what to look at."""

from invad_fast.names import visible

LONGEST_LINE = 1500  # characters; a path may have a few hundred, and the advice stands at the end


class InputError(ValueError):
    """Something given to invad_fast is wrong: one line saying what, where, and what to do.

    The command line prints it without a traceback and exits with status 2. What a file holds may
    be of any length: the middle of a line that no terminal shows is left out, but of a ``whole``
    one, which lists what a person has to mend.
    """

    def __init__(self, line: str, whole: bool = False) -> None:
        shown = visible(line)  # the names in it are the user's, line breaks and all
        if len(shown) > LONGEST_LINE and not whole:
            shown = f"{shown[: LONGEST_LINE - 300]} … {shown[-297:]}"
        super().__init__(shown)


class InputWarning(UserWarning):
    """Something given to invad_fast is taken in a way that its owner may not expect: one line.

    The command line prints it as a note.
    """


def first_line(error: BaseException) -> str:
    """What another library's error says, in at most 200 characters of one line."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).strip().rstrip(".")[:200]
