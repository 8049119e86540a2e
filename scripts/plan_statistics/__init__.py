"""How good the figures of `tod plan` are: pilots of known populations, many a world."""
