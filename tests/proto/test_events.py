import dataclasses
import typing

import pytest

from ntvl.proto import events


def kinds() -> tuple[type, ...]:
    return typing.get_args(events.NodeEvent)


def test_everything_that_the_module_offers_is_an_event_of_the_union() -> None:
    assert {kind.__name__ for kind in kinds()} == set(events.__all__) - {"NodeEvent"}


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_an_event_cannot_be_changed_and_is_equal_to_its_like(kind: type) -> None:
    fields = dataclasses.fields(kind)
    event = kind(*range(len(fields)))
    assert event == kind(*range(len(fields)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(event, fields[0].name, "other")
    assert not hasattr(event, "__dict__")
