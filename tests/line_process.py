"""A process that inspects as fast as it can, and says what it was told.

`python line_process.py FOLDER` prints "result ID VERDICT" a line each: what is printed has left the
inspector, so the ledger has it.
"""

import sys
from pathlib import Path

import stub_engine as stub
from line_recipe import MAKER, recipe

from invad_fast.inspection import Inspector


def main() -> None:
    folder = Path(sys.argv[1])
    with Inspector(recipe(folder), folder / "line.db", engine=MAKER) as line:
        assert "torch" not in sys.modules
        print("ready", flush=True)
        red = 0
        while True:
            red = (red + 37) % 256
            result = line.inspect(stub.picture(red), pixel_format="RGB8")
            print("result", result.id, result.verdict.value, flush=True)


if __name__ == "__main__":
    main()
