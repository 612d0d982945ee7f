"""Where results go beside the line: each sink on its own thread behind a bounded queue."""
