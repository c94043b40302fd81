"""From typed text to answers: reading questions, asking the network, writing lines."""
