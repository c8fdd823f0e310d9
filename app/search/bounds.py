"""Bounds on the work of one list query. Times are of one core with all pages in memory."""

MAX_UNCACHED_ROWS = 1_000
"""Estimated matches of a term up to which PostgreSQL answers about as soon as two requests to Redis."""

MAX_ROWS_WITHOUT_PROBE = 2_000
"""Estimated matches up to which all of them are fetched and sorted without a probe of the sort index, about 4 ms."""

MAX_ESTIMATED_ROWS = 18_000
"""Estimated matches up to which all of them are fetched and sorted, about 30 ms."""

MAX_SORTED_ROWS = 30_000
"""Actual matches up to which they are sorted. The estimate was too low if there are more."""

MAX_COUNTED_ROWS = 18_000
"""Matches up to which a list is counted by default. The number of a longer list is an estimate."""

MAX_POSTING_LIST_ROWS = 150_000
"""Length of the longest posting list that is read from the lexeme index, about 10 ms."""

MAX_PREFIX_POSTING_LIST_ROWS = 50_000
"""The same for a prefix. PostgreSQL merges its list from the lists of many lexemes."""

MAX_SCANNED_ROWS = {"created_at": 40_000, "updated_at": 16_000, "name": 8_000, "username": 8_000, "email": 8_000}
"""Rows that one scan of a sort index reads, about 30 ms. Rows of one hour are adjacent; rows of one name are not."""

PROBE_DIVISOR = 10
"""A probe reads this fraction of MAX_SCANNED_ROWS. It shows whether matches are near the cursor."""

MIN_SHARE_WITHOUT_DELETED_TAG = 0.75
"""Share of users in a partition above which the lexeme index is not asked for the partition; rows are checked instead.

The posting list of 2 % of 10,000,000 users took four times as long to read as the list of the search term.
"""

STATEMENT_TIMEOUT_S = 2.0
"""Time limit of one statement of a list."""
