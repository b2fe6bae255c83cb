"""A whole internet in one process, on virtual time.

    Timeline   what happens next, and when
    Segment    a network: the Internet, or the inside of a router; Line: what a cable does to datagrams
    Router     a NAT or firewall between two segments: two functions of source, destination and time
    Host       a computer with interfaces, UDP sockets and two clocks
    Station    the host stack above a TAP: ARP, ping, UDP, any frame
    Net        all of it, with nodes and supernodes on it, for scenarios

The nodes and supernodes are the real ones: the same machines, and the Python engine's forwarder, that run in
production, with every datagram byte for byte as it would be on a wire. What is simulated is the kernel, the network
and the clock. Everything that is drawn comes from one seed, so a run repeats itself exactly, and a failure says the
seed.

Deliberately absent: ICMP errors (hosts that drop silently are the harder case), fragmentation (too large is lost, as
behind many firewalls) and TCP (the kernel's business, seen in the lab).
"""
