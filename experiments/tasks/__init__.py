"""Tasks: a kind of text with its reward and the result of alignment; preparation of their data."""
