"""Integrations with other programs, each in a module that nothing else imports."""
