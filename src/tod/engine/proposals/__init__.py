"""Where the candidates of a step come from: one module per ``source`` of the proposal."""
