"""What the inspector and its engine tell each other: whole, in order, or not at all."""

import multiprocessing
import os
import select
import socket
import threading

import pytest

from invad_fast.inspection.messages import Messages


def test_all_that_has_come_is_taken_in_order_and_nothing_is_waited_for() -> None:
    here, there = Messages.pair()
    assert there.take() == []
    for told in (1, "two", None, {"three": 3}):
        here.send(told)
    assert select.select([there], [], [], 5)[0]
    assert there.take() == [1, "two", None, {"three": 3}] and there.take() == []


def test_a_message_larger_than_what_is_read_at_once() -> None:
    """Regions of a noisy map: their polygons are longer than the socket holds."""
    here, there = Messages.pair()
    large = os.urandom(3_000_000)
    sender = threading.Thread(target=lambda: [here.send(large), here.send("after")])
    sender.start()
    assert there.receive() == large and there.receive() == "after"
    sender.join()
    sender = threading.Thread(target=here.send, args=(large,))
    sender.start()
    found: list = []
    while not found:
        select.select([there], [], [], 5)
        found += there.take()
    assert found == [large]
    sender.join()


def test_what_was_sent_before_the_end_is_taken_first() -> None:
    here, there = Messages.pair()
    here.send("last words")
    here.close()
    assert there.take() == ["last words"]
    for _ in range(2):
        with pytest.raises(EOFError):
            there.take()
    with pytest.raises(EOFError):
        there.receive()
    with pytest.raises(OSError):
        there.send("nobody hears")


@pytest.mark.parametrize("kept", [1, 3, 4, 6])
def test_a_torn_message_is_no_message(kept: int) -> None:
    """An engine that is killed while it answers."""
    one, other = socket.socketpair()
    there = Messages(other)
    made, listened = socket.socketpair()
    Messages(made).send("never whole")
    one.sendall(listened.recv(1000)[:kept])
    assert there.take() == []
    one.close()
    with pytest.raises(EOFError):
        there.take()
    with pytest.raises(EOFError):
        there.receive()


def _answer(descriptor: int) -> None:
    end = Messages.of(descriptor)
    while (told := end.receive()) is not None:
        end.send(told * 2)


def test_another_process_answers_by_the_descriptor_that_it_inherits() -> None:
    here, there = Messages.pair()
    process = multiprocessing.get_context("fork").Process(target=_answer, args=(there.fileno(),))
    process.start()
    there.close()
    here.send(21)
    assert here.receive() == 42
    here.send(None)
    process.join(10)
    assert process.exitcode == 0
    here.close()
