"""A statement held against numbers, as a line of text: what was asked, what was measured, and each seed of it."""

import math

from physalis.lab.checks import Finding

SHOWN = 6  # seeds, beyond which only the ends are named


def line(finding: Finding, indent: str) -> str:
    """Without bounds it is a number beside others, and neither holds nor fails."""
    ends = [f"at least {finding.low:.4g}"] if math.isfinite(finding.low) else []
    ends += [f"at most {finding.high:.4g}"] if math.isfinite(finding.high) else []
    asked = f"exactly {finding.low:.4g}" if finding.low == finding.high else " and ".join(ends)
    mark = ("yes" if finding.holds else "no") if asked else ""
    return f"{indent}{mark:3} {finding.what}: {_number(finding.value)}{f' ({asked})' * bool(asked)}{_spread(finding)}"


def _spread(finding: Finding) -> str:
    if len(finding.seeds) > SHOWN:
        return f"  [{len(finding.seeds)} seeds, {_number(min(finding.seeds))} to {_number(max(finding.seeds))}]"
    return f"  [{', '.join(_number(seed, 3) for seed in finding.seeds)}]" if len(finding.seeds) > 1 else ""


def _number(value: float, digits: int = 4) -> str:
    return "0" if abs(value) < 1e-9 else f"{value:.{digits}g}"  # what is left of rounding
