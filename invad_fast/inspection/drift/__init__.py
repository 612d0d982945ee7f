"""Whether a line is still what it was: charts of scores, pictures and rejects, class by class."""
