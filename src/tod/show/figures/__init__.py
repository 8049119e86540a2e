"""One file per figure; each turns runs into a plot or into markup."""
