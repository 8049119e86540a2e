"""The `tod` command, one file a subcommand."""
