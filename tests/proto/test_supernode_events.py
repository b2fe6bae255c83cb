import dataclasses
import json
import typing

import pytest

from ntvl.proto import supernode_events as module
from ntvl.proto.supernode_events import SupernodeEvent


@pytest.mark.parametrize("kind", typing.get_args(SupernodeEvent))
def test_an_event_is_frozen_and_made_of_text_that_json_takes(kind: type) -> None:
    event = kind(*(field.name for field in dataclasses.fields(kind)))
    assert json.loads(json.dumps(dataclasses.asdict(event))) == {f.name: f.name for f in dataclasses.fields(kind)}
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(event, dataclasses.fields(kind)[0].name, "changed")


def test_the_union_names_them_all() -> None:
    assert {kind.__name__ for kind in typing.get_args(SupernodeEvent)} | {"SupernodeEvent"} == set(module.__all__)
