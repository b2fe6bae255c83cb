import inspect

from ntvl.proto.surroundings import Surroundings
from ntvl.wire.control import UNKNOWN_NAT


def test_until_somebody_looks_nothing_is_known_of_the_nat() -> None:
    assert inspect.signature(Surroundings).parameters["nat"].default is UNKNOWN_NAT
