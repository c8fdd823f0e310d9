"""The tests: real servers, no mocks but for clocks and the outside world."""
