"""From probabilities to masks, shapes and pictures."""
