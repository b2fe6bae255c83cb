"""Trains over real sockets, in one call where the kernel does it and one by one where it does not."""

import errno
import socket
from collections.abc import Iterator

import pytest
from tests.dataplane.frames import pattern
from tests.runtime.namespace import in_namespace, ip

from ntvl.dataplane.train import Train
from ntvl.dataplane.udp import SegmentSender, bind_udp, receive_train
from ntvl.errors import UsageError
from ntvl.wire.address import Address


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = bind_udp([Address("127.0.0.1", 0)])[0], bind_udp([Address("127.0.0.1", 0)])[0]
    with left, right:
        yield left, right


def address(sock: socket.socket) -> Address:
    return Address(*sock.getsockname()[:2])


def receive_all(sock: socket.socket) -> list[bytes]:
    datagrams = []
    try:
        while True:
            data, segment, _ = receive_train(sock)
            datagrams += (
                [data[start : start + segment] for start in range(0, len(data), segment)] if segment else [data]
            )
    except BlockingIOError:
        return datagrams


def train(target: socket.socket, count: int = 40, size: int = 1400, last: int = 700) -> Train:
    buffers = [pattern(size, seed) for seed in range(count)] + [pattern(last)]
    return Train(0, address(target), buffers, size)


def test_a_train_arrives_datagram_by_datagram(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    sent = train(right)
    assert SegmentSender(left).send(sent) == 0
    data, segment, source = receive_train(right)
    assert (data, segment, source) == (b"".join(sent.buffers), 1400, address(left))


def test_single_datagrams_need_no_segmentation(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    assert SegmentSender(left).send(Train(0, address(right), [b"abc"], 3)) == 0
    assert receive_train(right) == (b"abc", 0, address(left))
    with pytest.raises(BlockingIOError):
        receive_train(right)


class Kernel:
    """Is a socket on a kernel that refuses segmentation with one of its errors."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.number = number
        self.refused = 0
        self.sendto = sock.sendto

    def sendmsg(self, *_: object) -> int:
        self.refused += 1
        raise OSError(self.number, "refused")


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.ENOPROTOOPT])
def test_without_segmentation_they_go_one_by_one_and_that_is_remembered(
    pair: tuple[socket.socket, socket.socket], number: int
) -> None:
    left, right = pair
    kernel = Kernel(left, number)
    sender = SegmentSender(kernel)  # type: ignore[arg-type]
    for _ in range(3):
        assert sender.send(train(right)) == 0
        assert receive_all(right) == train(right).datagrams()
    assert kernel.refused == 1


def test_other_errors_cost_the_train(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    kernel = Kernel(left, errno.ENETUNREACH)
    assert SegmentSender(kernel).send(train(right)) == 41  # type: ignore[arg-type]
    assert SegmentSender(left).send(Train(0, Address("255.255.255.255", 9), [b"x"], 1)) == 1


def test_a_full_kernel_takes_nothing_and_says_so(pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    kernel = Kernel(left, errno.EAGAIN)
    with pytest.raises(BlockingIOError):
        SegmentSender(kernel).send(train(right))  # type: ignore[arg-type]
    assert receive_all(right) == []


def test_datagrams_may_be_fragmented_on_their_way() -> None:
    for family, level, option in ((Address("127.0.0.1", 0), 0, 10), (Address("::1", 0), 41, 23)):
        (sock,) = bind_udp([family])
        with sock:
            assert sock.getsockopt(level, option) == 0
            assert not sock.getblocking()
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 1 << 22


@pytest.mark.parametrize(
    ("listen", "words"),
    [
        (Address("192.0.2.55", 0), "192.0.2.55 is not an address of this computer"),
        (Address("2001:db8::55", 4000), "2001:db8::55 is not an address of this computer"),
    ],
)
def test_addresses_of_others_are_refused_in_one_sentence(listen: Address, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        bind_udp([listen])


def test_nothing_stays_bound_after_a_refusal() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(UsageError):
        bind_udp([Address("127.0.0.1", port), Address("192.0.2.55", port)])
    for sock in bind_udp([Address("127.0.0.1", port)]):
        sock.close()


@pytest.mark.needs_root
@pytest.mark.needs_program("ip")
def test_the_broadcast_address_of_a_subnet_of_ours_is_refused_by_the_kernel() -> None:
    async def scenario() -> None:
        ip("link add lan type veth peer name other")
        ip("address add 192.168.9.1/24 dev lan")
        ip("link set lan up")
        with bind_udp([Address("0.0.0.0", 0)])[0] as sock, pytest.raises(PermissionError):
            sock.sendto(b"to everybody", ("192.168.9.255", 9))

    in_namespace(scenario)
