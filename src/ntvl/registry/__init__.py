"""Where a supernode keeps what must outlive it: whose a community's name is, and who leases which address."""
