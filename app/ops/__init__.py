"""What keeps processes running: health, logging, circuit breaker, supervision."""
