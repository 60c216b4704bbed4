"""Inverse problems: few measurements of an unknown that is simple in some sense."""
