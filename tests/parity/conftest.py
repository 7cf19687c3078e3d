"""These scripts need an environment of their own and run by ``make parity``, not under pytest."""

collect_ignore_glob = ["*.py"]
