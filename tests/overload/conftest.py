"""The service under overload: `make test-overload` (docs/reliability.md).

- `control_group.py`: limits the CPU time of the service, and lets the test run before other processes of the machine
- `site.py`: the service with two workers, PostgreSQL and Redis of its own, and 20,000 users
- `load.py`, `connections.py`: the clients, in a process of their own, on another core than the service
- `watch.py`: samples of memory and of `/api/health/live`, and the time until the service is calm again
- `measures.py`: the scenarios, what is measured, and its bounds
- `test_overload.py`: finds how many connections saturate the service, then loads it with 50 times as many

Times are measured by the clients. A run counts only if the service used up its CPU time and the clients did not:
`measures.doubts`. A new scenario or measure is one more line in `measures.py`.
"""
