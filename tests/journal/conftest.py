"""The journal under faults: `make test-fault` (docs/reliability.md).

- `operations.py`: one operation of a client, one fault, and the tables at the end
- `cluster.py`, `network.py`, `small_disk.py`, `wall_clock.py`: two hosts, PostgreSQL and Redis; faults break them
- `*_clients.py`: clients of the API by token and by session, of the console, of the command line, and by SQL
- `faults.py`, `server_faults.py`, `host_faults.py`: one generator function for each fault
- `schedule.py`, `probe.py`, `run.py`: random schedules, the return of the service, and one run
- `timeline.py`, `*_rules.py`, `checker.py`: the rules. They know HTTP, SQL and docs/, and no code of the service
- `histories.py`, `test_checker*.py`: journals that are wrong on purpose, for each rule; part of `make test`
- `report.py`: the table of docs/reliability.md

A new fault is a generator function with `@fault`. A new promise is a function in one of the `*_rules.py`, with journals
that break it.
"""
