"""Lists of users: pages, queries, search text, cursors."""
