"""Networks for other devices: formats, parity with PyTorch, card."""
