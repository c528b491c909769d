"""What leaves: notebooks executed, one page of them, the ranked list."""
