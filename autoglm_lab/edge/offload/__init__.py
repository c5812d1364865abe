"""Offloading: a request is computed here, behind the network, or later. One world, exact plans in it, and learners."""
