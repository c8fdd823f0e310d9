"""What every HTTP door shares: who may knock, how requests are read, how errors and log lines are written."""
