"""The drawing of a matrix."""

from collections.abc import Sequence
from dataclasses import replace
from xml.etree import ElementTree

from ntvl.kind import SITE_KINDS, expect, plan_pairs
from ntvl.lab.chart import draw_matrix, shorten_technique
from ntvl.matrix import PairOutcome, Verdict

SVG = "{http://www.w3.org/2000/svg}"


def outcomes() -> list[PairOutcome]:
    found = []
    for left, right in plan_pairs(list(SITE_KINDS.values())):
        wanted = expect(left, right)
        technique = wanted.technique or "relay"
        found.append(PairOutcome(left.name, right.name, wanted.path, technique, 0.5, wanted.direct_s and 1.25, 12))
    return found


def classes(found: Sequence[PairOutcome]) -> list[str]:
    """Returns what styles the cell of each pair."""
    return [
        rectangle.attrib["class"]
        for group in ElementTree.fromstring(draw_matrix(found, "some")).iter(f"{SVG}g")
        for rectangle in group.iter(f"{SVG}rect")
    ]


def test_every_pair_has_a_cell_with_what_was_measured() -> None:
    found = outcomes()
    drawing = ElementTree.fromstring(draw_matrix(found, "A & B <title>"))
    cells = {group.findtext(f"{SVG}title"): group for group in drawing.iter(f"{SVG}g")}
    assert len(cells) == len(found)
    titles = [title for title in cells if title is not None and title.startswith("eim-apdf and apdm-random: ")]
    assert titles == ["eim-apdf and apdm-random: direct, birthday; as-expected; theory allows direct birthday"]
    words = [text.text for text in cells[titles[0]].iter(f"{SVG}text")]
    assert words == ["birthday", "0.50 / 1.25 s", "12 pkts"]
    assert "A & B <title>" in [text.text for text in drawing.iter(f"{SVG}text")]


def test_no_two_cells_lie_on_each_other_and_all_are_on_the_page() -> None:
    drawing = ElementTree.fromstring(draw_matrix(outcomes(), "all"))
    rectangles = [group.find(f"{SVG}rect") for group in drawing.iter(f"{SVG}g")]
    corners = [(float(r.attrib["x"]), float(r.attrib["y"])) for r in rectangles if r is not None]
    assert len(set(corners)) == len(corners)
    assert max(x for x, _ in corners) < float(drawing.attrib["width"]) - 60
    assert max(y for _, y in corners) < float(drawing.attrib["height"]) - 40


def test_only_a_pair_below_theory_has_a_frame() -> None:
    good = PairOutcome("open", "cgn", "direct", "simultaneous-udp", 0.1, 0.2, 3)
    bad = PairOutcome("cgn", "eim-apdf", "relay", "relay", 0.1, None, 3)
    silent = PairOutcome("cgn", "no-udp", "none", "none", None, None, 0, "b-no-udp did not join")
    again = replace(bad, tries=2, first_verdict=Verdict.NONE)
    assert classes([good, bad, silent, again]) == [
        "cell simultaneous",
        "cell relay short",
        "cell none short",
        "cell relay short",
    ]


def test_a_pair_that_was_as_theory_says_at_the_second_try_only_has_a_dashed_frame_and_says_so() -> None:
    again = PairOutcome("open", "cgn", "direct", "simultaneous-udp", 0.1, 0.2, 3, tries=2, first_verdict=Verdict.LATE)
    assert classes([again]) == ["cell simultaneous again"]
    drawing = ElementTree.fromstring(draw_matrix([again], "one"))
    (title,) = [group.findtext(f"{SVG}title") for group in drawing.iter(f"{SVG}g")]
    assert title is not None
    assert title.endswith("; second try, the first came to late")
    assert "as theory allows, at the second try only" in [text.text for text in drawing.iter(f"{SVG}text")]


def test_it_is_readable_on_light_and_dark_pages() -> None:
    text = draw_matrix(outcomes(), "all")
    light, found, dark = text.partition("@media (prefers-color-scheme: dark)")
    assert found
    for name in ("simultaneous", "prediction", "birthday", "relay", "none"):
        assert f"rect.{name} {{ fill:" in light
        assert f"rect.{name} {{ fill:" in dark


def test_a_technique_that_has_no_colour_of_its_own_is_drawn_as_direct() -> None:
    drawn = draw_matrix([PairOutcome("open", "upnp", "direct", "upnp", 0.1, 0.2, 3)], "one")
    assert 'class="cell simultaneous"' in drawn
    assert shorten_technique("simultaneous-udp") == "simultaneous"
    assert shorten_technique("port-prediction") == "prediction"
