"""The process of the Python engine: `python -m ntvl.dataplane.worker [--relay] CHANNEL SOCKET...`, all by descriptor.

It ends when its control plane closes the channel or dies, and ignores signals meant for that: a Ctrl-C reaches the
whole process group, and the control plane still has to take its leave through this process's devices.
"""

import gc
import signal
import socket
import sys

from ntvl.dataplane.channel import CommandChannel
from ntvl.dataplane.engine import IGNORED_SIGNALS
from ntvl.dataplane.pump import Pump

__all__ = ["main"]


def main(arguments: list[str]) -> None:
    """Runs an engine on inherited descriptors until its channel ends."""
    for number in IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED_SIGNALS)
    relay = "--relay" in arguments
    control, *sockets = (socket.socket(fileno=int(argument)) for argument in arguments if argument != "--relay")
    pump = Pump(sockets, CommandChannel(control), relay=relay)
    # Everything that lives now lives to the end; cycles are rare after, and a collection would be a pause.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    pump.run()


if __name__ == "__main__":
    main(sys.argv[1:])
