"""The database: connection, tables, migrations, and the ledger that reads and writes records."""
