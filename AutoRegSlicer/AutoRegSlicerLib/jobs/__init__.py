"""What stands behind ``jobs_ui``: states, the tail of the events, the child process, messages."""
