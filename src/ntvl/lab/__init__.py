"""A whole internet on one machine: network namespaces, kernel NATs, real programs.

A lab is described (`topology`: networks, hosts, routers and what they do to UDP), planned (`plan` and `ruleset`: the
text of commands, which tests compare without privilege) and applied (`stage`, the only part that needs root). Whatever
it makes lives inside namespaces of its own, so the machine's own network never changes, and undoing it is deleting
them.

    with Stage(build_sites({"a": KINDS["eim-apdf"], "b": KINDS["double"]})) as stage:
        stage.run("a", ["ip", "address"])
        stage.start("supernode", [sys.executable, "-m", "ntvl", "supernode", "--json"])
        probe = stage.open_socket("b", socket.AF_INET, socket.SOCK_DGRAM)
"""

__all__: list[str] = []
