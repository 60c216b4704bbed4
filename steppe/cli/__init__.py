"""The commands. What answers `--help`, `list`, `info` and bad usage never imports JAX."""
