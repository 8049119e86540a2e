"""One detector a file; a new file is asked without being listed anywhere."""
