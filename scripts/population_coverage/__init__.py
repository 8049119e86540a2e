"""How often population intervals cover what they should, and how often a word is wrong."""
