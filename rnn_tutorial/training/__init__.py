"""How a network is trained: update, engines, optimizer, learning rate, and the run around them."""
