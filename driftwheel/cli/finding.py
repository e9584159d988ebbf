"""One line of the doctor's report: what was looked at, whether it is fine, and which stages need it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report."""

    subject: str
    is_fine: bool
    text: str
    stages: tuple[str, ...] = ()
    """The stages that need it; every one does where none is named."""
    is_needed: bool = True
    """Whether one of them is wanted on this machine."""

    @property
    def is_missing(self) -> bool:
        """Whether something has to be done about it here."""
        return self.is_needed and not self.is_fine

    @property
    def mark(self) -> str:
        """How its line begins."""
        return "ok" if self.is_fine else "MISSING" if self.is_needed else "unused"
