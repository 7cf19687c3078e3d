"""Named configs of ``--config``."""
