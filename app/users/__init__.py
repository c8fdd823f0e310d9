"""The users: reads, writes, history, and their SQL."""
