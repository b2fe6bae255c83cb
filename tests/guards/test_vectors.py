"""The golden vectors say what the code does: a change of the wire format shows as a changed file."""

import pytest
from scripts.vectors import FILES, VECTORS, render


@pytest.mark.parametrize("name", FILES)
def test_vectors_are_up_to_date(name: str) -> None:
    assert (VECTORS / name).read_text() == render(name), "read what changed; if it should, run `make vectors`"
