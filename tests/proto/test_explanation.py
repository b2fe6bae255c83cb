import json
from typing import Any

from tests.proto.home import Home, pair, together
from tests.proto.scripted import World

from ntvl.proto.events import WhyReply


def ask(world: World, asking: Home, key: bytes) -> WhyReply | None:
    explainer = asking.node.explainer
    number = explainer.ask("lan", key, world.now)
    world.run(1.0)
    replies = [each for each in asking.said(WhyReply) if isinstance(each, WhyReply)]
    return next((each for each in replies if each.id == number), None)


def explain(world: World, asking: Home, key: bytes, reply: WhyReply | None) -> dict[str, Any]:
    found = asking.node.explainer.explain("lan", key, reply, world.now)
    assert found is not None
    json.dumps(found)
    return found


def test_a_member_that_answers_is_shown_from_both_ends() -> None:
    world, ann, bob = together()
    found = explain(world, ann, bob.key, ask(world, ann, bob.key))
    assert (found["name"], found["cause"], found["asked"], found["note"]) == ("bob", "direct", "answered", "")
    assert (found["path"], found["technique"], found["remote"]) == ("direct", "simultaneous-udp", str(bob.at))
    assert found["since_s"] > 0
    (rung,) = found["ladder"]
    for end, other in (("local", bob), ("remote", ann)):
        assert rung[end]["verdict"] == "direct"
        assert rung[end]["answered"] == f"host {other.at}"
    assert set(found["ends"]["local"]["candidates"]) >= {f"host {ann.at}"}
    assert found["ends"]["remote"]["state"] == "idle"


def test_a_member_that_is_silent_or_too_old_is_shown_from_our_end_with_a_note() -> None:
    world, ann, bob = together()
    silent = explain(world, ann, bob.key, None)
    assert (silent["asked"], silent["note"]) == (
        "timeout",
        "bob did not tell its side in time, so this is what is known here.",
    )
    old = explain(world, ann, bob.key, WhyReply(1, None, "unsupported"))
    assert (old["asked"], old["note"]) == ("unsupported", "bob runs an older version, which does not tell its side.")
    assert old["ladder"][0]["remote"] is None
    assert old["ends"]["remote"]["state"] is None
    assert old["ends"]["remote"]["candidates"], "its offer had them"


def test_a_member_that_nobody_talked_to_is_not_in_use() -> None:
    world, ann, bob = pair()
    reply = ask(world, ann, bob.key)
    assert reply == WhyReply(reply.id if reply else 0, None, "no-session")
    found = explain(world, ann, bob.key, reply)
    assert (found["cause"], found["path"], found["ladder"], found["retry_s"]) == ("not-in-use", "none", [], None)


def test_a_member_whose_handshake_nobody_answers_is_told_so() -> None:
    world, ann, bob = pair()
    world.machines.pop(bob.at)
    ann.want(bob.key)
    assert explain(world, ann, bob.key, ask(world, ann, bob.key))["cause"] == "no-handshake"


def test_nobody_is_asked_or_explained_who_is_no_member() -> None:
    world, ann, bob = pair()
    for community, key in (("lan", bytes(32)), ("elsewhere", bob.key)):
        assert ann.node.explainer.ask(community, key, world.now) is None
        assert ann.node.explainer.explain(community, key, None, world.now) is None
