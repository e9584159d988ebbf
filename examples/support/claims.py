"""What the demo claims, and whether it held."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Claim:
    """One bar and what was measured."""

    text: str
    bar: str
    measured: str
    is_met: bool
    is_required: bool = True


def upper_bound(failures: int, trials: int) -> float:
    """Return the 95 % upper bound of a failure rate when none was seen: the rule of three, 3/n; else failures/n."""
    return (failures or 3) / max(1, trials)


def print_table(console: Console, claims: Sequence[Claim]) -> None:
    """Print the claims."""
    table = Table(title="What the demo claims", title_justify="left")
    for heading in ("claim", "bar", "measured", ""):
        table.add_column(heading)
    for claim in claims:
        mark = "[green]holds" if claim.is_met else "[red]FAILS" if claim.is_required else "[yellow]slower"
        table.add_row(claim.text, claim.bar, claim.measured, mark)
    console.print(table)


def print_minutes(console: Console, seconds: dict[str, float]) -> None:
    """Print how long each step took."""
    table = Table(title="Minutes", title_justify="left")
    table.add_column("step")
    table.add_column("min", justify="right")
    for name, value in seconds.items():
        table.add_row(name, f"{value / 60:.1f}")
    table.add_row("the circle", f"{sum(v for n, v in seconds.items() if not n.startswith('set-up')) / 60:.1f}")
    console.print(table)
