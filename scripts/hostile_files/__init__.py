"""Files made to harm, by a grammar, read in child processes with limits."""
