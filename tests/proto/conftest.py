"""What the tests of pure protocol code share."""

import pytest

from ntvl.identity.keys import NodeKey


@pytest.fixture
def exchanges(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Records every Diffie-Hellman that is computed."""
    done: list[bytes] = []
    real = NodeKey.exchange

    def exchange(self: NodeKey, public: bytes) -> bytes:
        done.append(public)
        return real(self, public)

    monkeypatch.setattr(NodeKey, "exchange", exchange)
    return done
