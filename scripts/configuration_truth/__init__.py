"""What launch scripts of public repositories really say: the truth that readers are held to."""
