"""What tests of several folders share: clients, servers with faults, data, waiting."""
