"""The configuration file: its tables, and what is built from them."""
