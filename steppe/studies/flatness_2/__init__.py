"""The second study of flatness, registered before it ran: README.md beside this file."""
