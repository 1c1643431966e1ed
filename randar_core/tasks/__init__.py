"""What the models can do. A task says what is known, in which order the rest comes, and under which guidance."""
