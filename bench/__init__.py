"""Measures ntvl beside other layer-2 VPN programs, in network namespaces on this machine."""
