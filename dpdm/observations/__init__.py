"""What is seen of a known truth, and where: the parts of synthetic observations."""
