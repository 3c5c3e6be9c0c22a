"""The generative head's pipeline: a language model that answers three questions with a digit each."""
