"""The command line: one module per command, which parses, builds, calls and prints."""
