"""One verdict a part, by return, callback, iterator and asyncio; the ledger says the same."""

import asyncio
import functools
import json
import threading
import time
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import stub_engine as stub
from line_recipe import MAKER, content, recipe
from refusals import one_line

from invad_fast.inspection import Inspector, Reason, Recipe
from invad_fast.inspection.ledger.part_rows import part_rows
from invad_fast.prediction import Verdict

SCHEMA = json.loads((files("invad_fast") / "result.schema.json").read_text())
RGB = {"pixel_format": "RGB8"}


def inspector(
    folder: Path, *, in_process: bool = False, on_result=None, on_pictured=None, **changes
) -> Inspector:
    return Inspector(
        recipe(folder, **changes), folder / "line.db",
        engine=MAKER, in_process=in_process, on_result=on_result, on_pictured=on_pictured,
    )  # fmt: skip


@pytest.mark.parametrize("in_process", [False, True], ids=["process", "thread"])
def test_verdicts(tmp_path: Path, in_process: bool) -> None:
    with inspector(tmp_path, in_process=in_process) as line:
        good = line.inspect(stub.picture(100), "p1", **RGB)
        bad = line.inspect(stub.picture(200), **RGB, encoder=77)
        other = line.inspect(stub.picture(100, stub.IS_B), "p1", **RGB)
        strange = line.inspect(stub.picture(100, stub.IS_STRANGE), **RGB)
        nan = line.inspect(stub.picture(100, stub.NAN), **RGB)
        raised = line.inspect(stub.picture(100, stub.RAISES), **RGB)
        again = line.inspect(stub.picture(100), **RGB)
        accounts = line.accounts
    assert [r.verdict.value for r in (good, bad, other)] == ["PASS", "REJECT", "PASS"]
    assert (good.part_id, other.part_id) == ("p1", "p1") and good.id < bad.id < other.id
    assert bad.part_id == str(bad.id) and bad.encoder == 77
    assert (bad.score, bad.threshold, bad.class_name) == (np.float32(200 / 255), 0.5, "a")
    assert bad.regions[0]["box"] == [0, 0, 8, 8] and bad.map.shape == stub.SIZE
    assert good.regions == () and other.class_name == "b"
    assert strange.reason is Reason.UNKNOWN_PRODUCT and strange.class_name == "c"
    assert nan.reason is Reason.NOT_A_NUMBER and nan.score is None
    assert raised.reason is Reason.ENGINE_FAILED and "it raises" in raised.detail
    assert again.verdict is Verdict.PASS and set(again.views[0].times_ms) == {
        "preprocess", "wait", "engine"}  # fmt: skip
    for result in (good, bad, other, strange, nan, raised):
        jsonschema.validate(json.loads(json.dumps(result.row(), allow_nan=False)), SCHEMA)
    assert accounts.close and accounts.triggered == accounts.decided == 7
    assert accounts.reasons == {Reason.UNKNOWN_PRODUCT: 1, Reason.NOT_A_NUMBER: 1,
                                Reason.ENGINE_FAILED: 1}  # fmt: skip


def test_a_part_of_several_views(tmp_path: Path) -> None:
    """REJECT if any view rejects, else NOT_INSPECTED if any is missing, else PASS."""
    good, bad = stub.picture(10), stub.picture(200)
    wrong = np.zeros((8, 9, 3), np.uint8)
    with inspector(tmp_path, frames={"size": [8, 8]}, deadline_ms=1500) as line:
        shown = {}
        for name, frames in {
            "pass": [good, good], "reject": [good, bad], "wrong": [good, wrong],
            "reject all the same": [wrong, bad], "missing": [good], "none": [],
            "told": [good, "torn"],
        }.items():  # fmt: skip
            ticket = line.trigger(name, views=2)
            for view, frame in reversed(list(enumerate(frames))):  # in any order
                if isinstance(frame, str):
                    ticket.no_frame(view, detail=frame)
                else:
                    ticket.frame(frame, view, "RGB8")
            shown[name] = ticket
        results = {name: ticket.result(20) for name, ticket in shown.items()}
    found = {name: (r.verdict.value, r.reason and r.reason.value) for name, r in results.items()}
    assert found == {
        "pass": ("PASS", None), "reject": ("REJECT", None),
        "wrong": ("NOT_INSPECTED", "wrong size"), "reject all the same": ("REJECT", None),
        "told": ("NOT_INSPECTED", "camera"),
        "missing": ("NOT_INSPECTED", "camera"), "none": ("NOT_INSPECTED", "camera"),
    }  # fmt: skip
    assert "9×8" in results["wrong"].detail and "8×8" in results["wrong"].detail
    assert results["reject"].score == np.float32(200 / 255)  # the worst view's
    assert results["none"].latency_ms >= 1500 > results["told"].latency_ms
    assert results["told"].detail == "torn"


def test_results_reach_who_waits(tmp_path: Path) -> None:
    called, done = [], []
    with inspector(tmp_path, on_result=called.append) as line:
        stream = line.results()
        ticket = line.submit(stub.picture(1), "a", **RGB)
        ticket.add_done_callback(done.append)

        async def ask() -> list[str]:
            tickets = [line.submit(stub.picture(200), name, **RGB) for name in "bc"]
            return [(await ticket).part_id for ticket in tickets]

        assert asyncio.run(ask()) == ["b", "c"]
        with pytest.raises(TimeoutError, match="part 'd'"):
            line.trigger("d").result(0.01)
        line.close(finish=False)
    results = list(stream)
    assert [r.part_id for r in results] == ["a", "b", "c", "d"]
    assert results[-1].reason is Reason.STOPPED
    assert called == results and done == results[:1]


@pytest.mark.parametrize("callback", ["on_result", "on_pictured"])
def test_a_callback_that_raises_holds_up_nothing(tmp_path: Path, callback: str) -> None:
    def fail(result: object) -> None:
        raise KeyError("mine")

    told = pytest.warns(UserWarning, match="callback failed for part 'x'.*KeyError")
    with told, inspector(tmp_path, **{callback: fail}) as line:
        assert line.inspect(stub.picture(1), "x", **RGB).verdict is Verdict.PASS
        assert line.inspect(stub.picture(1), "y", **RGB).verdict is Verdict.PASS


def test_many_threads(tmp_path: Path) -> None:
    found = {}

    def work(thread: int) -> None:
        for number in range(25):
            red = (thread * 25 + number) % 256
            found[thread, number] = line.inspect(stub.picture(red), f"{red}", **RGB)

    with inspector(tmp_path) as line:
        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert line.accounts.close
    assert len(found) == len({r.id for r in found.values()}) == 200
    for result in found.values():  # none has another's verdict
        assert result.score == np.float32(int(result.part_id) / 255)


def test_a_change_of_recipe_between_two_parts(tmp_path: Path) -> None:
    loose = content()
    loose["thresholds"]["values"]["a"]["value"] = 0.9
    loose["name"] = "loose"
    with inspector(tmp_path) as line:
        slow = [line.submit(stub.picture(200, stub.IS_SLOW), **RGB) for _ in range(3)]
        line.change_recipe(Recipe.of(loose, tmp_path / "loose.yaml"))
        after = line.inspect(stub.picture(200), **RGB)
        line.change_recipe("line")
        back = line.inspect(stub.picture(200), **RGB)
        named = line.inspect(stub.picture(200), **RGB, recipe="loose")
        broken = content(name="bad", model={"file": "broken", "digest": "stub"})
        with pytest.raises(ValueError, match="no such model"):
            line.change_recipe(Recipe.of(broken, tmp_path / "bad.yaml"))
        assert line.inspect(stub.picture(200), **RGB).recipe == "line"
        loose["thresholds"]["values"]["a"]["value"] = 0.1  # the same name: it takes its place
        line.change_recipe(Recipe.of(loose, tmp_path / "loose.yaml"))
        strict = line.inspect(stub.picture(100), **RGB)
        results = [ticket.result() for ticket in slow]
    assert [r.verdict.value for r in results] == ["REJECT"] * 3
    assert [r.verdict.value for r in (after, back, named, strict)] == [
        "PASS", "REJECT", "PASS", "REJECT"]  # fmt: skip


def test_a_recipe_is_removed_when_its_parts_are_done(tmp_path: Path) -> None:
    with inspector(tmp_path) as line:
        line.change_recipe(recipe(tmp_path, name="b"))
        one_line("current one", lambda: line.remove_recipe("b"))
        last = line.submit(stub.picture(10, stub.IS_SLOW), recipe="line", pixel_format="RGB8")
        line.remove_recipe("line")
        one_line("no recipe 'line'", lambda: line.trigger(recipe="line"))
        one_line("no recipe 'line'", lambda: line.remove_recipe("line"))
        assert last.result().verdict.value == "PASS"
        until = time.monotonic() + 10
        while line._loop.others and time.monotonic() < until:
            time.sleep(0.02)
        assert not line._loop.others  # its engine has ended
        assert line.inspect(stub.picture(10), pixel_format="RGB8").verdict.value == "PASS"
        assert line.accounts.close


def test_golden_parts(tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(stub.picture(10)).save(tmp_path / "good.png")
    Image.fromarray(stub.picture(200)).save(tmp_path / "bad.png")
    golden = [{"image": "good.png", "verdict": "PASS"}, {"image": "bad.png", "verdict": "REJECT"}]
    with inspector(tmp_path, golden_parts=golden) as line:
        assert line.accounts.triggered == 0
    with pytest.raises(ValueError, match="of class 'b' and was taken for 'a'"):
        inspector(tmp_path, golden_parts=[golden[0] | {"class_name": "b"}]).__enter__()
    golden[1]["verdict"] = "PASS"
    with pytest.raises(ValueError, match=r"bad\.png must come out as PASS and came out as REJECT"):
        inspector(tmp_path, golden_parts=golden).__enter__()


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    broken = {"model": {"file": "broken", "digest": "stub"}}
    one_line("no such model", inspector(tmp_path, **broken).__enter__)
    one_line("not running", lambda: inspector(tmp_path).trigger())
    one_line("whose names differ", lambda: Inspector([], tmp_path / "l.db"))
    with inspector(tmp_path) as line:
        one_line("did you mean 'BGR8'", lambda: line.submit(stub.picture(), pixel_format="BGR"))
        for views in (0, True, 2.0, "2", 1001):
            one_line("views must be", functools.partial(line.trigger, views=views))
        for part_id in (5, b"x", "", "x" * 1001):
            one_line("part_id must be", functools.partial(line.trigger, part_id))
        for encoder in (True, 1.5, 2**63, "7"):
            one_line("encoder must be", functools.partial(line.trigger, encoder=encoder))
        one_line("no recipe 'x'", lambda: line.trigger(recipe="x"))
        ticket = line.trigger(views=2).frame(stub.picture(), 0, "RGB8")
        one_line("handed in before", lambda: ticket.frame(stub.picture(), 0, "RGB8"))
        one_line("views 0 to 1", lambda: ticket.frame(stub.picture(), 2, "RGB8"))
        ticket.frame(stub.picture(), 1, "RGB8")
        assert ticket.result().verdict is Verdict.PASS
    one_line("not running", lambda: line.trigger())


def test_names_are_data(tmp_path: Path) -> None:
    names = ["=1+1", "a'; DROP TABLE parts; --", "\0", "line\nbreak", "\udc80", "日本", "x" * 1000]
    with inspector(tmp_path) as line:
        results = [line.inspect(stub.picture(1), name, **RGB) for name in names]
    assert [result.part_id for result in results] == names
    kept = [row["part_id"] for row in part_rows(tmp_path / "line.db")][::-1]
    escapes = {"\udc80": "\\udc80", "\0": "\\x00"}
    assert kept == [escapes.get(name, name) for name in names]
    assert all(json.loads(json.dumps(result.row())) for result in results)


def test_the_engine_is_of_the_same_package(tmp_path: Path, monkeypatch) -> None:
    """Not of one that happens to lie where the line is started."""
    (tmp_path / "invad_fast").mkdir()
    (tmp_path / "invad_fast/__init__.py").write_text("raise RuntimeError('another copy')")
    monkeypatch.chdir(tmp_path)
    with inspector(tmp_path) as line:
        assert line.inspect(stub.picture(1), **RGB).verdict is Verdict.PASS
