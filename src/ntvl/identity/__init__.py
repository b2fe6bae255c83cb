"""Who is who: node keys, communities, membership certificates, supernode URLs; pure."""
