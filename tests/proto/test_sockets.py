import random

from ntvl.dataplane.interface import CloseSocket, OpenSocket
from ntvl.proto.context import Context
from ntvl.proto.sockets import PUNCHING_MAX, Sockets


def build() -> tuple[Context, Sockets]:
    context = Context(random.Random(1).randbytes, lambda: 0.0)
    return context, Sockets(context)


def told(context: Context) -> list[object]:
    commands = list(context.commands)
    context.commands.clear()
    return commands


def test_sockets_are_opened_at_the_data_plane_under_numbers_of_their_own() -> None:
    context, sockets = build()
    assert sockets.open(2) == [1, 2]
    assert sockets.open(1, family=6) == [3]
    assert told(context) == [OpenSocket(1, 4), OpenSocket(2, 4), OpenSocket(3, 6)]


def test_one_technique_at_a_time_has_what_a_router_bears() -> None:
    context, sockets = build()
    first = sockets.open(PUNCHING_MAX)
    told(context)
    assert sockets.open(1) == []
    assert told(context) == []
    sockets.settle(first, kept=[5])
    assert len(told(context)) == PUNCHING_MAX - 1
    assert len(sockets.open(PUNCHING_MAX)) == PUNCHING_MAX


def test_a_socket_in_use_stays_until_its_path_goes() -> None:
    context, sockets = build()
    sockets.settle(sockets.open(3), kept=[2])
    told(context)
    sockets.settle([2], kept=[2])
    assert told(context) == []
    sockets.settle([2], kept=[])
    sockets.close(2)
    assert told(context) == [CloseSocket(2)]


def test_numbers_come_again_only_when_all_have_been() -> None:
    _, sockets = build()
    kept = sockets.open(1)
    sockets.settle(kept, kept)
    numbers: list[int] = []
    for _ in range(600):
        some = sockets.open(PUNCHING_MAX)
        numbers += some
        sockets.settle(some, kept=[])
    assert kept[0] not in numbers
    assert len(set(numbers)) == 65534


def test_paths_may_keep_a_bounded_number() -> None:
    _, sockets = build()
    for _ in range(4):
        some = sockets.open(PUNCHING_MAX)
        assert some
        sockets.settle(some, kept=some)
    assert sockets.open(1) == []
