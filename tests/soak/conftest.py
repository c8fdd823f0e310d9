"""The soak test: `make test-soak` (docs/reliability.md).

- `site.py`: the service with two workers, PostgreSQL and Redis of its own
- `client.py`, `*_clients.py`: clients of every interface, each at a steady rate; what they create they remove
- `samples.py`, `measures.py`: what is measured every few seconds, and how much each measure may grow
- `growth.py`: the rule that decides whether a series grows; `test_growth.py`, part of `make test`, tests it
- `report.py`: the table of docs/reliability.md; `python -m tests.soak.report FILE` prints it of the samples so far
- `test_soak.py`: one run

A new measure is a line in `samples.py` and one in `measures.py`. A new kind of load is a class with `step`.
"""
