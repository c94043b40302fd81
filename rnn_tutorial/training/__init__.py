"""How the weights change: the update, the engines that make it, optimizer, learning rate."""
