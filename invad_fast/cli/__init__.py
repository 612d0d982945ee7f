"""The command line: one file a verb; a user's mistake is one line, without a traceback.

Nothing here imports torch before a verb runs: help, completion and mistakes answer at once.
"""
