"""The forward pass of training and scoring: flat tokens in, one number per token out."""
