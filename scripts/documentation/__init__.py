"""The site of documentation: copied pages, contents, reference, and a look at the result."""
