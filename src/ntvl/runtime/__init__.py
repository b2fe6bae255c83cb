"""The asyncio side of ntvl: drivers, clocks, state on disk, the control socket and the operating system's network."""
