"""Scripts of the shell as settings of the training commands in them. Nothing is run."""
