"""Who is called, in which order, and what counts as the result: a core that never touches the world."""
