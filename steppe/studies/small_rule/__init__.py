"""A rule of a few hundred weights against rivals, on tasks it has never seen. See README.md."""
