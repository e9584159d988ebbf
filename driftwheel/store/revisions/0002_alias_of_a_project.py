"""Revision 2: an alias belongs to a project, so that two loops in one database may use the same name.

Its key was the bare name; it is `project/name` now, and the name has a column. The gateway that
leads the others is called that in the row too.
"""

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    """Give every alias a name and a key with its project."""
    op.add_column("alias", sa.Column("name", sa.Text(), nullable=True))
    op.execute("UPDATE alias SET name = id, id = project || '/' || id")
    with op.batch_alter_table("alias") as alias:
        alias.alter_column("name", existing_type=sa.Text(), nullable=False)
        alias.alter_column("conductor", new_column_name="leader", existing_type=sa.Text())
        alias.alter_column("beats", new_column_name="heartbeats", existing_type=sa.BigInteger())
