"""The data plane: moves frames and datagrams, decides nothing; `interface` is all that the control plane knows."""
