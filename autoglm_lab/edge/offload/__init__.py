"""Is a request computed here, behind the network, or later? One world, exact plans in it, and learners."""
