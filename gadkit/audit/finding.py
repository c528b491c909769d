"""The result of one check: a verdict, a number with what to compare it with, and a remedy.

*Failed* means that the result is not what it claims to be; *warning*, that somebody has to look,
and say so beside the number; *passed*, that this check found nothing, which does not prove that
there is nothing. The thresholds that several checks share are here as well.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

from torch import Tensor

from gadkit.evaluation.metrics import Interval
from gadkit.evaluation.splits import Split
from gadkit.graph import HeteroGraph

PASSED, WARNING, FAILED, SKIPPED = "passed", "warning", "failed", "not run"

LEVEL = 0.99  # of every interval: a score of checks at 95 % would raise an alarm in most audits
QUANTILE = NormalDist().inv_cdf((1 + LEVEL) / 2)  # standard errors in half such an interval
CHANCE = 0.5  # AUROC
SHUFFLED_MAY_REACH = 0.55  # AUROC after learning from shuffled labels
ENOUGH = 10  # frauds or nodes to say anything of a column
SHOWN = 10  # rows of evidence

FILE = "findings.json"

# (graph, split, ids) -> (len(ids), dim) table, and the name of each column. A name may start with
# the block that the column belongs to, as "hops: mean of price". NaN is a missing value.
Features = Callable[[HeteroGraph, Split, Tensor], tuple[Tensor, list[str]]]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found.

    Attributes:
        check: its name, as in `checks.CHECKS`.
        verdict: PASSED, WARNING, FAILED or SKIPPED.
        measure: what `value` is; "" without one.
        value: the number, with its interval (of `LEVEL`) where it has one.
        expected: what the number is where nothing is wrong, or what it should stay on one side of.
        detail: what was found, in words.
        remedy: how to mend it; "" where nothing need be.
        evidence: rows of names and numbers, the most telling first.
        question: what was looked at, filled in by `audit`; "" of a check that was called alone.
    """

    check: str
    verdict: str
    measure: str = ""
    value: Interval | float | None = None
    expected: float | None = None
    detail: str = ""
    remedy: str = ""
    evidence: dict[str, str] = field(default_factory=dict)
    question: str = ""

    @property
    def number(self) -> str:
        """The value as text: `0.873 [0.851, 0.893]`, a count, or nothing."""
        if self.value is None:
            return ""
        if isinstance(self.value, Interval):
            return str(self.value)
        return f"{self.value:,}" if isinstance(self.value, int) else f"{self.value:.3f}"


def skipped(check: str, reason: str) -> Finding:
    """Say why a check was not run."""
    return Finding(check=check, verdict=SKIPPED, detail=f"Not run: {reason}.")


def verdicts(findings: Sequence[Finding]) -> dict[str, int]:
    """Count the findings by verdict, the gravest first."""
    given = [finding.verdict for finding in findings]
    return {name: given.count(name) for name in (FAILED, WARNING, PASSED, SKIPPED)}


def as_json(findings: Sequence[Finding], *, subject: str = "") -> dict:
    """Return the findings as what JSON knows; an interval becomes value, low and high."""
    rows = []
    for finding in findings:
        value = finding.value
        value = value._asdict() if isinstance(value, Interval) else value
        rows.append(vars(finding) | {"value": value})
    return {"subject": subject, "level": LEVEL, "verdicts": verdicts(findings), "findings": rows}
