"""The `generative` head: a language model that is asked for digits, and read by their probabilities."""
