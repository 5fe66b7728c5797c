"""Studies that decide: many trainings compared on whole slides, with their cost."""
