"""The frame that goes nowhere really takes the way that frames take, and never holds the engine up."""

import pytest

from ntvl.dataplane.rehearsal import Rehearsal


@pytest.mark.parametrize("cipher", ["aes256gcm", "chacha20poly1305"])
def test_a_frame_crosses_each_time(cipher: str) -> None:
    rehearsal = Rehearsal(cipher)
    try:
        frames = {rehearsal.step(now / 500) for now in range(5000)}
        assert len(frames) == 1
        (frame,) = frames
        assert frame is not None
        assert len(frame) > 60
    finally:
        rehearsal.close()


def test_nothing_grows_with_the_steps() -> None:
    rehearsal = Rehearsal("aes256gcm")
    try:
        for mover in rehearsal._movers:
            while mover.forwarder.poll_event() is not None:
                pass
        for now in range(100):
            rehearsal.step(now / 500)
        for mover in rehearsal._movers:
            hub = mover.forwarder._hub
            assert not hub.notes
            assert not hub.sends
            assert not hub.writes
            assert mover.forwarder.poll_event() is None
    finally:
        rehearsal.close()


def test_a_step_that_comes_to_nothing_is_none() -> None:
    rehearsal = Rehearsal("aes256gcm")
    rehearsal.close()
    assert rehearsal.step(1.0) is None
