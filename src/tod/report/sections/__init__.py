"""One file per part of the page that is words or a table."""
