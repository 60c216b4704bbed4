"""Texts: a frozen encoder, and what is put in front of its words."""
