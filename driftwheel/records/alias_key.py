"""Which alias is meant: its project and its name, for whatever moves it, watches it or reads what it served."""

from typing import NamedTuple


class AliasKey(NamedTuple):
    """A project and the name of one of its aliases; the name alone is not unique, as loops may share a database."""

    project: str
    name: str
