"""Run a bundle over a slide in bounded memory."""
