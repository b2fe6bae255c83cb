"""The techniques of this release, in the order in which an attempt runs them.

A new technique is one module with a class of the `Technique` shape, and one more entry here.
"""

from typing import Final

from ntvl.proto.birthday import Birthday
from ntvl.proto.prediction import Prediction
from ntvl.proto.simultaneous import Simultaneous
from ntvl.proto.tcp_open import TcpOpen
from ntvl.proto.technique import Technique

__all__ = ["TECHNIQUES"]

TECHNIQUES: Final[tuple[Technique, ...]] = (Simultaneous(), Prediction(), TcpOpen(), Birthday())
"""Cheapest first; an attempt ends at the first that confirms a path."""
