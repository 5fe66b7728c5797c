"""Command line and doctor: thin, they only call recipes."""
