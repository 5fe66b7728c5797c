"""Networks, losses, and the bundle that carries one from training to every use of it."""
