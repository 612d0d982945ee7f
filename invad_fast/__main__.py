"""``python -m invad_fast``, which is how torchrun starts the command line."""

from invad_fast.cli.app import main

if __name__ == "__main__":
    main()
