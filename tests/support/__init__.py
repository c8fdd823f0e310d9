"""Code that several folders of tests share: clients, servers with faults, test data, waiting."""
