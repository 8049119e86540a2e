"""Self-contained HTML pages: one file per document, one per section."""
