"""Figures of several programs side by side: medians, ratios to the best of the others, and whether the goals are
met."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Row:
    """Is what one run of one program gave."""

    throughput_bps: float
    round_trip_s: float
    small_packets_per_s: float

    def __str__(self) -> str:
        return (
            f"{self.throughput_bps / 1e9:.2f} Gbit/s, {self.round_trip_s * 1e6:.0f} µs, "
            f"{self.small_packets_per_s / 1e3:.0f} thousand packets/s"
        )


@dataclass(frozen=True)
class Goal:
    """Is one promise: program `index` of ours reaches `factor` times the best of the others in `figure`."""

    name: str
    index: int
    figure: str
    factor: float
    lower_is_better: bool = False

    @property
    def words(self) -> str:
        if self.lower_is_better:
            return "no more than the least of the others"
        return f"at least {self.factor:g} times the best of the others"


GOALS = (
    Goal("TCP throughput", 0, "throughput_bps", 3.0),
    Goal("idle round trip", 0, "round_trip_s", 1.0, lower_is_better=True),
    Goal("relayed TCP throughput", 1, "throughput_bps", 2.0),
    Goal("64-byte packets", 0, "small_packets_per_s", 1.0),
)


class Comparison:
    """Gathers rows and judges them.

    Args:
        ours: the names of our own programs, in the order that `GOALS` counts.
    """

    def __init__(self, ours: Sequence[str]) -> None:
        self._ours = list(ours)
        self._rows: dict[str, list[Row]] = {}

    def add(self, name: str, row: Row) -> None:
        self._rows.setdefault(name, []).append(row)

    def median(self, name: str, figure: str) -> float:
        return statistics.median(float(getattr(row, figure)) for row in self._rows[name])

    def best_of_others(self, figure: str, *, lower: bool = False) -> tuple[str, float] | None:
        """Returns the best of the programs that are not ours, and its median."""
        medians = [(name, self.median(name, figure)) for name in self._rows if name not in self._ours]
        if not medians:
            return None
        return (min if lower else max)(medians, key=lambda pair: pair[1])

    def judge(self, goal: Goal) -> tuple[float, bool] | None:
        """Returns our ratio to the best of the others and whether it is enough, None where something is missing."""
        best = self.best_of_others(goal.figure, lower=goal.lower_is_better)
        name = self._ours[goal.index]
        if best is None or name not in self._rows:
            return None
        ratio = self.median(name, goal.figure) / best[1]
        return ratio, ratio <= goal.factor if goal.lower_is_better else ratio >= goal.factor

    def verdict(self) -> bool:
        """Returns whether no goal that could be judged is missed."""
        return all(judged is None or judged[1] for judged in map(self.judge, GOALS))

    def table(self) -> str:
        """Returns the medians and the verdicts as text."""
        width = max(map(len, self._rows), default=0)
        lines = [f"{'':{width}}   TCP Gbit/s   round trip µs   64-byte packets/s    (median of the rounds)"]
        for name, rows in self._rows.items():
            lines.append(
                f"{name:{width}}   {self.median(name, 'throughput_bps') / 1e9:10.2f}"
                f"   {self.median(name, 'round_trip_s') * 1e6:13.0f}"
                f"   {self.median(name, 'small_packets_per_s'):17,.0f}    {len(rows)} rounds"
            )
        lines.append("")
        for goal in GOALS:
            judged = self.judge(goal)
            best = self.best_of_others(goal.figure, lower=goal.lower_is_better)
            if judged is not None and best is not None:
                verdict = "met" if judged[1] else "MISSED"
                lines.append(f"{goal.name}: {judged[0]:.2f} times {best[0]}; goal {goal.words}: {verdict}")
        return "\n".join(lines)

    def json(self) -> str:
        """Returns all figures, medians and verdicts."""
        return json.dumps(
            {
                "rows": {name: [asdict(row) for row in rows] for name, rows in self._rows.items()},
                "medians": {
                    name: {figure: self.median(name, figure) for figure in Row.__dataclass_fields__}
                    for name in self._rows
                },
                "goals": {
                    goal.name: {"ratio": judged[0], "met": judged[1], "goal": goal.words}
                    for goal in GOALS
                    if (judged := self.judge(goal)) is not None
                },
            },
            indent=2,
        )
