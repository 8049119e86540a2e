"""The engine: real models through transformers, sampled, scored and trained."""
