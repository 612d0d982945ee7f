"""What callers do to an inspector: stop waiting, close in a callback, use it before and after."""

import asyncio
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import stub_engine as stub
from line_recipe import MAKER, content, recipe
from refusals import one_line

from invad_fast.inspection import Inspector, Recipe
from invad_fast.inspection.ledger.totals import totals

RGB = {"pixel_format": "RGB8"}


def inspector(folder: Path, **changes) -> Inspector:
    return Inspector(recipe(folder, **changes), folder / "line.db", engine=MAKER)


def test_who_stops_waiting_stops_no_part(tmp_path: Path) -> None:
    async def impatient(line: Inspector) -> str:
        ticket = line.submit(stub.picture(10, stub.IS_SLOW), **RGB)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(ticket, 0.02)
        return (await ticket).verdict.value

    with inspector(tmp_path) as line:
        assert asyncio.run(impatient(line)) == "PASS"
        assert line.inspect(stub.picture(200), **RGB).verdict.value == "REJECT"
        assert not line.faults


def test_a_callback_may_close_while_another_closes(tmp_path: Path) -> None:
    closed = []

    def close(_: object) -> None:
        time.sleep(0.1)  # the block below has ended
        line.close()
        closed.append(threading.current_thread().name)

    line = Inspector(recipe(tmp_path), tmp_path / "line.db", engine=MAKER, on_result=close)
    with line:
        line.submit(stub.picture(10), **RGB)
    assert closed == ["callbacks"]


@pytest.mark.parametrize("place", ["open_part", "decide"])
def test_an_interrupt_leaves_no_close_that_waits(tmp_path: Path, place: str) -> None:
    """Ctrl-C comes anywhere: here in the ledger, as the main thread triggers or finishes."""
    line = inspector(tmp_path)
    with line:
        line.inspect(stub.picture(10), **RGB)
        real = getattr(line._ledger, place)

        def interrupted(*given: object) -> None:
            setattr(line._ledger, place, real)
            raise KeyboardInterrupt

        setattr(line._ledger, place, interrupted)
        with pytest.raises(KeyboardInterrupt):
            line.trigger().no_frame()
        assert line.wait_for_room(1, 10)
    assert totals(tmp_path / "line.db").triggered == (1 if place == "open_part" else 2)


def test_after_it_is_closed_nothing_waits_and_nothing_runs(tmp_path: Path) -> None:
    line = inspector(tmp_path)
    assert line.faults == []
    waiting = line.results()
    with line:
        ticket = line.submit(stub.picture(10), **RGB)
    told = []
    ticket.add_done_callback(told.append)
    assert [part.id for part in waiting] == [1] == [part.id for part in told]
    assert list(line.results()) == []
    one_line("not running", lambda: line.trigger())
    one_line("not running", lambda: line.change_recipe(recipe(tmp_path, name="new")))
    one_line("runs once", lambda: line.__enter__())
    with inspector(tmp_path):  # the ledger is free
        pass


def test_an_iterator_that_is_dropped_is_held_no_results(tmp_path: Path) -> None:
    with inspector(tmp_path) as line:
        for _ in range(10):
            line.results()
        assert len(line._delivery._listeners) == 0


def test_recipes_may_be_files_and_counts_any_library_s(tmp_path: Path) -> None:
    first, second = recipe(tmp_path), recipe(tmp_path, name="second")
    first.save(tmp_path / "a.yaml")
    second.save(tmp_path / "b.yaml")
    both = [str(tmp_path / "a.yaml"), tmp_path / "b.yaml"]
    with Inspector(both, tmp_path / "line.db", engine=MAKER) as line:
        ticket = line.trigger(views=np.int64(1), encoder=np.uint32(7), recipe="second")
        assert ticket.frame(stub.picture(10), np.int32(0), "RGB8").result().encoder == 7
        line.change_recipe(tmp_path / "b.yaml")
        one_line("views", lambda: line.trigger(views=True))
        one_line("encoder", lambda: line.trigger(encoder=1.0))
    one_line("a recipe is", lambda: Inspector(None, tmp_path / "line.db"))


@pytest.mark.parametrize("key, value", [("station", "other"), ("durability", "power")])
def test_recipes_of_one_ledger_share_it(tmp_path: Path, key: str, value: str) -> None:
    """A ledger is of one station, and its rows are as durable as it was opened for."""
    other = recipe(tmp_path, name="other", **{key: value})
    one_line(key, lambda: Inspector([recipe(tmp_path), other], tmp_path / "line.db"))
    with inspector(tmp_path) as line:
        one_line(key, lambda: line.change_recipe(other))
        assert line.inspect(stub.picture(10), **RGB).recipe == "line"


def test_a_recipe_that_cannot_be_taken_up_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file in the way")
    other = recipe(tmp_path, name="line", pictures={"folder": "kept"})
    with inspector(tmp_path) as line:
        trail = line._ledger._connection.execute("SELECT count(*) FROM audit").fetchone()
        one_line("is a file", lambda: line.change_recipe(other))
        assert line._ledger._connection.execute("SELECT count(*) FROM audit").fetchone() == trail
        until = time.monotonic() + 10
        while line._loop.others and time.monotonic() < until:
            time.sleep(0.01)
        assert not line._loop.others and not line.faults


def test_a_rejected_part_shows_the_view_that_rejected(tmp_path: Path) -> None:
    """Though another, of a class with a higher threshold, has the higher score."""
    held = content()
    held["thresholds"]["values"] = {"a": {"value": 0.9}, "b": {"value": 0.3}}
    with Inspector(Recipe.of(held, tmp_path / "r"), tmp_path / "line.db", engine=MAKER) as line:
        ticket = line.trigger(views=2)
        ticket.frame(stub.picture(204), 0, "RGB8").frame(stub.picture(128, stub.IS_B), 1, "RGB8")
        found = ticket.result()
    assert (found.verdict.value, found.class_name, found.threshold) == ("REJECT", "b", 0.3)
    assert found.regions and found.row()["provisional"] is False


def test_a_provisional_threshold_is_told(tmp_path: Path) -> None:
    held = content()
    origin = {"source": "training parts", "parts": 3}
    held["thresholds"]["values"]["a"] = {"value": 0.5, "origin": origin}
    with Inspector(Recipe.of(held, tmp_path / "r"), tmp_path / "line.db", engine=MAKER) as line:
        assert line.inspect(stub.picture(10), **RGB).row()["provisional"] is True
        assert line.inspect(stub.picture(10, stub.IS_B), **RGB).row()["provisional"] is False
