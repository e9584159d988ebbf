"""Print what the demo claims and how long each step took, as tables on the terminal."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from examples.support.claims import Claim


def print_table(console: Console, claims: Sequence[Claim]) -> None:
    """Print the claims."""
    table = Table(title="What the demo claims", title_justify="left")
    for heading in ("claim", "bar", "measured", ""):
        table.add_column(heading)
    for claim in claims:
        mark = "[green]holds" if claim.is_met else "[red]FAILS" if claim.is_required else "[yellow]slower"
        table.add_row(claim.text, claim.bar, claim.measured, mark)
    console.print(table)


def print_minutes(console: Console, seconds: Mapping[str, float], retrain_seconds: Mapping[str, float]) -> None:
    """Print how long each step took, and of the retrain each of the worker's."""
    table = Table(title="Minutes", title_justify="left")
    table.add_column("step")
    table.add_column("min", justify="right")
    for name, value in seconds.items():
        table.add_row(name, f"{value / 60:.1f}")
        if name.startswith("retrain"):
            for inner, part in retrain_seconds.items():
                table.add_row(f"  {inner}", f"{part / 60:.1f}", style="dim")
    table.add_row("the circle", f"{sum(seconds.values()) / 60:.1f}")
    console.print(table)
