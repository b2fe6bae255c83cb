"""Sans-IO machines: time, randomness and datagrams come in as arguments, datagrams and events go out by polling."""
