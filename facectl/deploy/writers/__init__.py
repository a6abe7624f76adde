"""How each kind of resource is created, changed and deleted; used by the executor alone."""
