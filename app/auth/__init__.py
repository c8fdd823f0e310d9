"""Who acts and what they may do: login, sessions, tokens, passwords, permissions, rate limits, the audit log."""
