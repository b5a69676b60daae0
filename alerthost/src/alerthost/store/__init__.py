"""The database of a host: tables, migrations, copies, and installations with sealed secrets."""
