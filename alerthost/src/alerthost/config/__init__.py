"""The configuration file, and the rules, accounts and engine that are built from it."""
