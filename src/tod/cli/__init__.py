"""The roof: commands. They wire everything and own nothing."""
